"""Nights as a reader meets them: the index in the morning, what changed in a tier, the fleet."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.conftest import Browser, violations
from tests.unit.reports.night_sample import ENDED
from tests.unit.reports.sample import HOSTILE

PAGES = ("index.html", "flagship.html", "fleet.html")
SCREENS = ((1280, False), (390, True))
OPEN_ALL = "document.querySelectorAll('details').forEach(box => box.open = true)"
HOUR = 3600.0


def text_of(browser: Browser, selector: str) -> str:
    return str(browser.ask("return document.querySelector(arguments[0]).innerText", selector))


@contextmanager
def clock(browser: Browser, unix_s: float) -> Iterator[None]:
    """The reader's clock stands still at a moment."""
    script = f"window.now = {unix_s * 1000}; Date.now = () => window.now;"
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_no_page_scrolls_sideways_complains_or_asks_the_network(
    browser: Browser, nightly: Path, page: str, width: int, dark: bool
) -> None:
    browser.screen(width, dark=dark)
    browser.open(nightly / page)
    browser.ask(OPEN_ALL)
    inner, outer = browser.ask("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer
    assert browser.complaints() == []
    assert browser.ask("return performance.getEntriesByType('resource').length") == 0


def test_the_index_opens_with_the_night_and_what_it_asks_for(browser: Browser, nightly: Path) -> None:
    browser.screen(1280)
    with clock(browser, ENDED + HOUR):
        browser.open(nightly / "index.html")
    assert text_of(browser, ".headline") == (
        "Night of 20 Nov, ended 07:00 UTC: 412 of 430 measured; 1 regression confirmed, 1 suspect, 1 improved; "
        "hands needed: s24-ultra-a, authorize it and 1 more."
    )
    order = browser.ask("return [...document.querySelectorAll('main > section')].map(s => s.id)")
    assert order == ["hands", "changes", "flips", "night-notes", "tiers", "fleet", "devices", "nights", "runs"]
    hands = browser.ask("return [...document.querySelectorAll('#hands li')].map(one => one.innerText)")
    assert len(hands) == 2, "a lost hub is one finding"
    assert "8 devices:" in hands[1]
    assert "What to do" not in hands[0], "the words before an advice are drawn by the style sheet"
    assert browser.ask("return getComputedStyle(document.querySelector('#hands .advice'), '::before').content") == (
        '"What to do: "'
    )
    groups = browser.ask("return [...document.querySelectorAll('#flips tr.group')].map(one => one.innerText.trim())")
    assert groups == ["speech", "no owner named"]
    rows = browser.ask("return [...document.querySelectorAll('#nights tbody tr')].map(row => row.cells[0].innerText)")
    assert len(rows) == 30
    assert rows[0] == "2025-11-20"


def test_a_night_turns_red_with_the_readers_clock(browser: Browser, nightly: Path) -> None:
    """Written while it was young; opened, and looked at again, when it is not."""
    browser.screen(1280)
    old = "return [document.querySelector('.headline').className, document.querySelector('.old').hidden]"
    with clock(browser, ENDED + 25 * HOUR):
        browser.open(nightly / "index.html")
        written = browser.ask(old)
        assert written[1] is True
        browser.ask("now += 2 * 3600 * 1000; document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))")
        assert browser.ask(old) == ["headline bad", False]
        assert text_of(browser, ".headline").startswith("Old: the newest night was 27 h ago. Night of 20 Nov")
    with clock(browser, ENDED + 5 * 24 * HOUR):
        browser.open(nightly / "index.html")
        assert text_of(browser, ".headline").startswith("Old: the newest night was 5 days ago.")


def test_a_change_has_a_permalink_that_opens_it(browser: Browser, nightly: Path) -> None:
    browser.screen(1280)
    browser.open(nightly / "index.html")
    browser.driver.find_element("css selector", "#changes li a").click()
    browser.until("return document.readyState === 'complete' && location.pathname.endsWith('/flagship.html')")
    browser.until("return document.activeElement === document.querySelector('details.change[open] > summary')")
    closed = browser.ask("return document.querySelector('details.change:not([open])').id")
    browser.open(nightly / "flagship.html", "#" + closed.replace("%", "%25"))
    browser.until("return document.activeElement?.parentElement?.id === arguments[0]", closed)
    assert browser.ask("return document.getElementById(arguments[0]).open", closed)
    mark = browser.driver.find_element("css selector", "#matrix a.change-mark:has(.fail)")
    assert mark.text == "confirmed Decode"
    mark.click()
    browser.until("return document.activeElement.closest('details.change')?.innerText.includes('Decode')")


def test_what_changed_stands_after_the_verdict_with_everything(browser: Browser, nightly: Path) -> None:
    browser.screen(1280)
    browser.open(nightly / "flagship.html")
    order = browser.ask("return [...document.querySelectorAll('main > section')].map(s => s.id)")
    assert order[:3] == ["verdict", "changed", "matrix"]
    cells = browser.ask(
        "return [...document.querySelector('#changed tbody tr:not(.group)').cells].map(cell => cell.innerText)"
    )
    for words in ("confirmed", "5.3 % worse", "2025-11-11", "29", "llama.cpp-b7301", "llama.cpp-b7312", "they agree"):
        assert any(words in cell for cell in cells)
    whole = text_of(browser, "#changed")
    assert whole.count("Insufficient data") == 1
    for words in ("hot on 3 phones", "are due; farm runs them", "confidence 99.2 %", "farm ack flagship/"):
        assert words in whole
    browser.ask(OPEN_ALL)
    assert "by Ada" in text_of(browser, "#changed")


def test_the_picture_of_a_change_is_drawn_marked_and_told(browser: Browser, nightly: Path) -> None:
    browser.screen(1280)
    browser.open(nightly / "flagship.html")
    drawn = browser.ask(
        """return [...document.querySelectorAll('details.change[open] svg.nights')].map(one => ({
             line: one.querySelector('.line').getBBox().width, dots: one.querySelector('.dots').getBBox().width,
             step: !!one.querySelector('.step'), events: one.querySelectorAll('.happened title').length,
             mark: one.querySelector('.stamp').textContent,
             told: one.getAttribute('aria-labelledby').split(' ').map(
               id => document.getElementById(id).textContent)}))"""
    )
    assert len(drawn) == 2
    for one in drawn:
        assert one["line"] > 400
        assert one["dots"] > 400
        assert one["step"]
        assert one["events"] >= 2
        assert "virtual phone" in one["mark"]
        title, description = one["told"]
        assert "over the nights" in title
        assert "1 night without a value" in description


def test_what_is_not_a_phone_or_kept_apart_is_marked_for_the_eye(browser: Browser, nightly: Path) -> None:
    browser.screen(1280)
    for page in PAGES:
        browser.open(nightly / page)
        browser.ask(OPEN_ALL)
        bare = browser.ask(
            """return [...document.querySelectorAll('tbody tr, #hands li')].filter(row => row.textContent.match(
                 /s24-ultra-[ab]/) && !row.textContent.includes('virtual phone')
               ).filter(row => !row.closest('details.case') || row.querySelector('a')).map(row => row.textContent)"""
        )
        assert bare == []
    browser.open(nightly / "flagship.html")
    apart = browser.ask(
        """return [...document.querySelectorAll('#verdict .verdicts tbody tr, #metrics tbody tr')].filter(
             row => row.textContent.includes('s24-ultra-a')).map(
               row => row.textContent.includes('kept apart: drifts'))"""
    )
    assert apart
    assert all(apart)
    assert "4 cases of phones that are kept apart" in text_of(browser, "#verdict")


def test_the_fleet_leads_with_what_needs_hands_and_gives_reasons_to_the_keyboard(
    browser: Browser, nightly: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.screen(1280)
    browser.open(nightly / "index.html")
    browser.driver.find_element("css selector", "#fleet a[href='fleet.html']").click()
    browser.until("return document.readyState === 'complete' && location.pathname.endsWith('/fleet.html')")
    rows = browser.ask("return [...document.querySelectorAll('.fleet tbody tr')].map(row => row.id)")
    assert rows[:2] == ["phone=a14-1", "phone=s24-ultra-a"]
    assert (
        browser.ask("return [...document.querySelectorAll('.fleet td')].filter(c => !c.textContent.trim()).length") == 0
    )
    text = text_of(browser, "[id='phone=s24-ultra-a']")
    for words in ("unauthorized", "kept apart: drifts", "authorize it", "drifts", "farm quarantine lift s24-ultra-a"):
        assert words in text
    browser.ask("document.querySelector('.fleet a.absent').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.until("return document.activeElement.id === 'note-1'")
    browser.driver.find_element("link text", "All tiers").click()
    browser.until("return location.pathname.endsWith('/index.html')")


@pytest.mark.parametrize("page", PAGES)
def test_hostile_names_are_inert(browser: Browser, hostile_nights: Path, page: str) -> None:
    browser.screen(390)
    browser.open(hostile_nights / page)
    browser.ask(OPEN_ALL)
    assert browser.complaints() == []
    inner, outer = browser.ask("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer
    shown = text_of(browser, "body").replace("\n", "")
    assert HOSTILE.partition("\u202e")[0] in shown
    assert browser.ask("return document.querySelectorAll('[href^=\"javascript\" i]').length") == 0


@pytest.mark.parametrize("page", PAGES)
def test_it_prints(browser: Browser, nightly: Path, page: str) -> None:
    browser.screen(1280, dark=True)
    browser.open(nightly / page)
    printed = {"preferCSSPageSize": True, "printBackground": True}
    pdf = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", printed)["data"])
    assert pdf.startswith(b"%PDF-")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.ask("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        whole = "[...document.querySelectorAll('.scroll')].every(one => getComputedStyle(one).overflow === 'visible')"
        assert browser.ask(f"return {whole}")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_accessible(browser: Browser, nightly: Path, axe: str, page: str, width: int, dark: bool) -> None:
    browser.screen(width, dark=dark)
    browser.open(nightly / page)
    # The other sections of a tier are looked at with the report itself.
    if page == "flagship.html":
        others = "main > section:not(#verdict, #changed, #matrix)"
        browser.ask("document.querySelectorAll(arguments[0]).forEach(section => section.remove())", others)
    browser.ask(OPEN_ALL)
    assert violations(browser, axe) == []
