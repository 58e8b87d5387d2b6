"""The report as a reader meets it: opened as a file, in a real browser."""

from __future__ import annotations

import base64
import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from reports import picture
from tests.browser.conftest import Browser, violations
from tests.unit.reports.sample import HOSTILE

PAGES = ("flagship.html", "budget.html", "index.html")
OPEN_ALL = "document.querySelectorAll('details').forEach(box => box.open = true)"


def visible_text(browser: Browser, selector: str) -> str:
    return str(browser.ask("return document.querySelector(arguments[0]).innerText", selector))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_scrolls_sideways_or_complains(
    browser: Browser, report: Path, page: str, width: int, dark: bool
) -> None:
    browser.screen(width, dark=dark)
    browser.open(report / page)
    for script in ("", OPEN_ALL):
        browser.ask(script)
        inner, outer = browser.ask("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert inner <= outer
    assert browser.complaints() == []


def test_each_section_over_runs_is_drawn_and_told(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    assert "Compared with run 20251120-050000-bb22" in visible_text(browser, "#previous")
    words = browser.ask(
        """const cells = [...document.querySelectorAll('#previous td')];
           return cells.map(cell => cell.innerText.match(/[a-z ]+/)?.[0].trim())"""
    )
    assert {"slower", "not comparable"} <= set(words)
    sparks = browser.ask(
        """return [...document.querySelectorAll('#matrix svg.spark')].map(drawn => [
             drawn.getAttribute('aria-label'), drawn.querySelector('.line').getBBox().width])"""
    )
    assert sparks
    assert all("1 run without a value" in label and width > 100 for label, width in sparks)
    assert "lowest" in visible_text(browser, "#verdict .picks").lower()
    assert "Size, speed, memory and quality" in visible_text(browser, "#compression")
    browser.ask(OPEN_ALL)
    labels = browser.ask("return [...document.querySelectorAll('svg.histogram')].map(drawn => drawn.ariaLabel)")
    assert labels
    assert all(" tokens of " in label and "p99" in label for label in labels)


def test_themes_differ_and_both_follow_the_reader(browser: Browser, report: Path) -> None:
    colours = {}
    for dark in (False, True):
        browser.screen(1280, dark=dark)
        browser.open(report / "flagship.html")
        colours[dark] = browser.ask("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    assert colours[False] == ["rgb(255, 255, 255)", "rgb(26, 31, 38)"]
    assert colours[True] == ["rgb(16, 20, 26)", "rgb(227, 231, 236)"]


def test_the_verdict_comes_first(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    order = browser.ask("return [...document.querySelectorAll('main > section')].map(s => s.id)")
    assert order[:6] == ["verdict", "matrix", "metrics", "failures", "not-run", "cases"]
    assert order[6:] == ["previous", "compression", "published", "devices", "provenance", "data"]
    text = visible_text(browser, "#verdict")
    for words in ("≤ 50 ms", "≤ 1000 MB", "pass", "fail", "inconclusive", "not measured", "n=5"):
        assert words in text


def test_every_row_of_a_virtual_phone_is_marked_for_the_eye(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    browser.ask(OPEN_ALL)
    bare = browser.ask(
        """return [...document.querySelectorAll('tbody tr')].filter(row =>
             row.textContent.includes('s24-ultra-a') && !row.textContent.includes('virtual phone')
             || row.textContent.includes('bench-host') && !row.textContent.includes('not a phone')
           ).filter(row => !row.closest('details.case') || row.querySelector('a')).map(row => row.textContent)"""
    )
    assert bare == []
    pictures = browser.ask(
        """return [...document.querySelectorAll('details.case')].map(box => [
             box.querySelector('summary').textContent.includes('virtual phone'),
             [...box.querySelectorAll('svg.timeline')].map(s => !!s.querySelector('.stamp') )])"""
    )
    assert any(drawn for _, drawn in pictures)
    assert all(all(drawn) for virtual, drawn in pictures if virtual)


def test_not_measured_gives_its_reason_to_the_keyboard(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    empty, described = browser.ask(
        """const cells = [...document.querySelectorAll('.metrics td, .verdicts td')];
           const links = [...document.querySelectorAll('a.absent')];
           return [cells.filter(c => !c.textContent.trim()).length, links.map(a => [
             a.tabIndex, document.getElementById(a.getAttribute('aria-describedby')).textContent])]"""
    )
    assert empty == 0
    assert described
    assert all(index == 0 and reason for index, reason in described)
    hover = "const a = document.querySelector('a.absent'); a.dispatchEvent(new Event('pointerover', {bubbles: true}))"
    assert browser.ask(f"{hover}; return a.title") == described[0][1]
    browser.ask("document.querySelector('a.absent').focus()")
    from selenium.webdriver.common.keys import Keys

    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.ask("return document.activeElement.id") == "note-1"


def test_focus_can_be_seen(browser: Browser, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.screen(1280)
    browser.open(report / "flagship.html")
    browser.driver.find_element("css selector", "body").send_keys(Keys.TAB)
    words = "const a = document.activeElement; return [a.textContent, getComputedStyle(a).outlineStyle]"
    assert browser.ask(words) == ["Skip to the content", "solid"]
    assert browser.ask("return document.activeElement.getBoundingClientRect().top >= 0")


@pytest.mark.parametrize("way", ["opened", "clicked"])
def test_a_permalink_opens_its_case(browser: Browser, report: Path, way: str) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    case = browser.ask("return [...document.querySelectorAll('details.case')].at(-1).id")
    if way == "opened":
        browser.open(report / "flagship.html", f"#{case}")
    else:
        browser.driver.find_element("css selector", f"#verdict a[href='#{case}']").click()
    browser.until("return document.activeElement === document.querySelector('details.case[open] > summary')")
    opened = browser.ask("return [...document.querySelectorAll('details.case[open]')].map(box => box.id)")
    assert opened == [case]
    top = browser.ask("return document.querySelector('details.case[open]').getBoundingClientRect().top")
    assert -1 <= top < 900


def test_a_permalink_to_one_repetition_opens_all_around_it(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    one = browser.ask("return [...document.querySelectorAll('details.repetition')].at(-1).id")
    assert one.endswith(".4")
    browser.open(report / "flagship.html", f"#{one}")
    browser.until("const box = document.getElementById(arguments[0]); return box.open && box.checkVisibility()", one)


def test_the_index_leads_to_the_tiers_and_back(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "index.html")
    assert "78 of 82 measured; 2 failed; 2 refused" in visible_text(browser, ".headline")
    browser.driver.find_element("link text", "Flagship").click()
    assert browser.driver.current_url.endswith("/flagship.html")
    browser.driver.find_element("link text", "All tiers").click()
    assert browser.driver.current_url.endswith("/index.html")


@pytest.mark.parametrize("way", ["click", "enter", "button"])
def test_a_timeline_opens_to_every_sample(browser: Browser, report: Path, way: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.screen(1280)
    browser.open(report / "flagship.html")
    browser.ask("window.figure = document.querySelector('figure.drill'); figure.closest('.case').open = true")
    if way == "click":
        browser.driver.find_element("css selector", "figure.drill svg").click()
    elif way == "enter":
        browser.driver.find_element("css selector", "figure.drill .scroll").send_keys(Keys.ENTER)
    else:
        browser.driver.find_element("css selector", "figure.drill button").click()
    browser.until("return !!figure.querySelector('.samples canvas')")
    assert browser.ask("return figure.querySelector('.samples .mark').textContent") == "not a phone"
    titles = browser.ask("return [...figure.querySelectorAll('.samples h5')].map(head => head.textContent)")
    assert titles[:3] == ["Temperature (°C)", "Frequency (MHz)", "Memory (MB)"]
    counted = browser.ask(
        """const text = figure.closest('.repetition').querySelector('.sub-details tbody').rows;
           return [...text].map(row => +row.cells[2].textContent).reduce((sum, count) => sum + count, 0)"""
    )
    assert f"All {counted} samples." in visible_text(browser, "figure.drill .samples")
    drawn = browser.ask(
        """return [...figure.querySelectorAll('.samples canvas')].map(canvas => {
             const { width, height } = canvas, pen = canvas.getContext('2d');
             return new Set(new Uint32Array(pen.getImageData(0, 0, width, height).data.buffer)).size; })"""
    )
    assert all(colours > 20 for colours in drawn)
    button = "return figure.querySelector('button').ariaExpanded"
    assert browser.ask(button) == "true"
    browser.ask("figure.querySelector('button').click()")
    assert browser.ask(button) == "false"
    assert browser.ask("return figure.querySelector('.samples').checkVisibility()") is False
    assert browser.complaints() == []


def test_samples_are_enlarged_by_keys_and_read_under_the_pointer(browser: Browser, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.screen(390)
    browser.open(report / "flagship.html")
    browser.ask("window.figure = document.querySelector('figure.drill'); figure.closest('.case').open = true")
    browser.ask("figure.querySelector('button').click()")
    browser.until("return !!figure.querySelector('.samples canvas')")
    picture = "return figure.querySelector('.samples canvas').toDataURL()"
    whole = browser.ask(picture)
    box = browser.driver.find_element("css selector", ".samples")
    box.send_keys("+", Keys.ARROW_RIGHT)
    browser.until(f"{picture} !== arguments[0]", whole)
    box.send_keys("0")
    browser.until(f"{picture} === arguments[0]", whole)
    hover = """const over = figure.querySelector('.u-over'), at = over.getBoundingClientRect();
               const where = { bubbles: true, clientX: at.left + at.width / 2, clientY: at.top + 20 };
               over.dispatchEvent(new MouseEvent('mouseenter', where));
               over.dispatchEvent(new MouseEvent('mousemove', where));"""
    browser.ask(hover)
    browser.until("return [...figure.querySelectorAll('.reading')].every(one => /\\d/.test(one.textContent))")
    browser.ask("figure.querySelector('.names input').click()")
    browser.until(f"{picture} !== arguments[0]", whole)
    inner, outer = browser.ask("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer
    assert browser.complaints() == []


def test_no_request_leaves_the_page(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    browser.ask(OPEN_ALL)
    browser.ask("document.querySelector('figure.drill button').click()")
    browser.until("return !!document.querySelector('.samples canvas')")
    asked = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    urls = {
        event["params"]["request"]["url"].partition("#")[0]
        for event in asked
        if event["method"] == "Network.requestWillBeSent"
    }
    assert urls <= {"about:blank", (report / "flagship.html").as_uri()}
    assert browser.ask("return performance.getEntriesByType('resource').length") == 0


def test_the_policy_stops_what_is_not_ours(browser: Browser, report: Path) -> None:
    """The policy is in force: an element that a name could have smuggled in does nothing."""
    browser.screen(1280)
    browser.open(report / "flagship.html")
    browser.ask(
        """const box = document.createElement('div');
           box.innerHTML = '<img src="http://127.0.0.1:9/x" onerror="window.ran = 1"><p style="color: red">x</p>';
           document.body.append(box);
           const script = document.createElement('script'); script.textContent = 'window.ran = 1';
           document.body.append(script);"""
    )
    assert browser.ask("return window.ran === undefined")
    assert len([text for text in browser.complaints() if "Content Security Policy" in text]) >= 3


@pytest.mark.parametrize("page", ["flagship.html", "index.html"])
@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_names_are_inert(browser: Browser, hostile: Path, page: str, width: int) -> None:
    browser.screen(width)
    browser.open(hostile / page)
    browser.ask(OPEN_ALL)
    assert browser.complaints() == []
    inner, outer = browser.ask("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer
    shown = visible_text(browser, "body").replace("\n", "")
    assert HOSTILE.partition("\u202e")[0] in shown
    assert "[U+202E]gnol[U+202C] javascript:alert(1)" in shown
    assert browser.ask("return document.querySelectorAll('[href^=\"javascript\" i]').length") == 0


def test_data_can_be_saved_as_json_and_csv(browser: Browser, report: Path, downloaded: Callable[[str], Path]) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    rows = json.loads(downloaded("Save as JSON").read_text("utf-8"))
    with downloaded("Save as CSV").open(encoding="utf-8", newline="") as file:
        flat = list(csv.DictReader(file))
    assert len(rows) == len(flat) == 64
    assert [row["case"] for row in rows] == [row["case"] for row in flat]
    assert browser.complaints() == []


def test_print_shows_logs_and_no_controls(browser: Browser, report: Path) -> None:
    browser.screen(1280, dark=True)
    browser.open(report / "flagship.html")
    pdf = base64.b64decode(
        browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})["data"]
    )
    assert pdf.startswith(b"%PDF-")
    before = browser.ask("return document.querySelector('#failures details.log').open")
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask("return document.querySelector('#failures details.log').open")
    browser.ask("dispatchEvent(new Event('afterprint'))")
    assert browser.ask("return document.querySelector('#failures details.log').open") is before is False
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "const s = getComputedStyle(document.querySelector(arguments[0])); return s.display"
        assert browser.ask(shown, ".sections") == "none"
        assert browser.ask(shown, ".print-only") == "block"
        assert browser.ask("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("page", ["flagship.html", "index.html"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible(browser: Browser, compact: Path, axe: str, page: str, width: int, dark: bool) -> None:
    browser.screen(width, dark=dark)
    browser.open(compact / page)
    # One case in full and one closed stand for all: the checks look at every element many times.
    browser.ask("document.querySelectorAll('details.case')[2]?.querySelectorAll('summary').forEach(s => s.click())")
    browser.ask("[...document.querySelectorAll('details.case:not([open])')].slice(1).forEach(box => box.remove())")
    browser.ask("document.querySelectorAll('#failures details').forEach(box => box.open = true)")
    if browser.ask("const one = document.querySelector('.case[open] .drill button'); one?.click(); return !!one"):
        browser.until("return !!document.querySelector('.samples canvas')")
    assert violations(browser, axe) == []


def test_the_picture_for_the_readme_is_one_screen_of_the_report(browser: Browser, report: Path, tmp_path: Path) -> None:
    out = tmp_path / "images" / "report.png"
    picture.take(report / "flagship.html", out)
    data = out.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (picture.WIDTH, picture.HEIGHT)
    with pytest.raises(RuntimeError, match="there is no report"):
        picture.take(report / "absent.html", out)


def test_what_others_published_stands_apart(browser: Browser, report: Path) -> None:
    browser.screen(1280)
    browser.open(report / "flagship.html")
    assert "measured here" in visible_text(browser, "#h-published")
    assert "313\u202f131 – 424\u202f242 tok/s" in visible_text(browser, "#published")
    # Its own column, and not a figure of any other section or picture.
    others = browser.ask(
        "return [...document.querySelectorAll('section:not(#published), svg, script')]"
        ".filter(part => part.textContent.includes('313\u202f131')).length"
    )
    assert others == 0
    rows = browser.ask(
        "return [...document.querySelectorAll('#published tbody tr')].map(row => [...row.cells].map(c => c.innerText))"
    )
    assert [row[1] for row in rows] == ["Decode", "Peak memory"]
    assert all("tok/s" in row[2] and "pixel-8-pro" in row[4] for row in rows[:1])
    assert "virtual phone" in rows[1][4]
    browser.ask("document.querySelector('#published td:last-child a').click()")
    browser.until("return [...document.querySelectorAll('details.case')].some(box => box.open)")
    browser.open(report / "index.html")
    assert "313\u202f131" not in browser.ask("return document.documentElement.textContent")
