"""A real headless Chromium, and reports for it to open."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import reports
from harness.cache import cache_dir
from tests.unit.reports.night_sample import ENDED, kept_apart, night_input
from tests.unit.reports.sample import HOSTILE, START, past_of, run_input

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = "axe-core@4.14.1"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@dataclass(frozen=True, slots=True)
class Browser:
    """A driver and the few things these tests ask of it."""

    driver: Any

    def screen(self, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Emulate a screen in CSS pixels and the reader's colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, page: Path, fragment: str = "") -> None:
        """Load afresh: a change of fragment alone would not."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri() + fragment)
        # On a busy machine the driver comes back while the parser is still at work.
        self.until("return document.readyState === 'complete' && location.protocol === 'file:'")

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any) -> None:
        """Wait until `script` answers true; the test fails when it does not within ten seconds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 10, 0.05).until(lambda _: self.ask(script, *arguments))

    def complaints(self) -> list[str]:
        """What the console said since the page was opened; violations of the policy are among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def violations(browser: Browser, axe: str) -> list[list[Any]]:
    """What axe-core finds wrong with the page that is open, by the rules of WCAG 2.2 AA. Args: axe: its source."""
    browser.ask(axe)
    browser.driver.set_script_timeout(120)
    found: list[list[Any]] = browser.driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
           const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
           axe.run(document, {runOnly: rules, resultTypes: ['violations'], selectors: false})
              .then(result => done(result.violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html)])))
              .catch(error => done([['axe', String(error)]]));"""
    )
    return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    chromedriver = shutil.which("chromedriver")
    if CHROMIUM is None or chromedriver is None:
        pytest.skip("no Chromium with its chromedriver on this machine (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    downloads = str(tmp_path_factory.mktemp("downloads"))
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    except WebDriverException as error:
        pytest.skip(f"Chromium does not start here: {error.msg}")
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def _written(folder: Path, *, hostile: bool = False, repeats: int = 5, devices: int = 4) -> Path:
    run, samples = run_input(hostile=hostile, repeats=repeats, devices=devices)
    pasts = {tier: past_of(run, tier) for tier in ("flagship", "budget")}
    files = reports.render(run, samples, generated_at=START, history=[run.record], pasts=pasts)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a report over a made-up run."""
    return _written(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with fewer devices, for what looks at every element many times."""
    return _written(tmp_path_factory.mktemp("compact"), repeats=4, devices=2)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with names of models, devices and labs that try to break out."""
    return _written(tmp_path_factory.mktemp("hostile"), hostile=True)


@pytest.fixture(scope="session")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a lab with a month of nights and a phone that is kept apart."""
    return _of_nights(tmp_path_factory.mktemp("nightly"))


@pytest.fixture(scope="session")
def hostile_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with builds, models, reasons and authors whose names try to break out."""
    return _of_nights(tmp_path_factory.mktemp("hostile-nights"), HOSTILE)


def _of_nights(folder: Path, word: str = "") -> Path:
    run, samples = run_input(hostile=bool(word), repeats=2)
    run = kept_apart(run, "bench-host" if word else "s24-ultra-a", word or "drifts")
    pasts = {tier: past_of(run, tier) for tier in ("flagship", "budget")}
    files = reports.render(
        run, samples, generated_at=ENDED, history=[run.record], pasts=pasts, nights=night_input(word)
    )
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def axe() -> str:
    """Source of axe-core, fetched once by npm into the user's cache."""
    cache = cache_dir() / "tests"
    source = cache / f"{AXE.replace('@', '-')}.js"
    if not source.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("axe-core is not in the cache and there is no npm to fetch it")
        cache.mkdir(parents=True, exist_ok=True)
        try:
            packed = subprocess.run(
                [npm, "pack", AXE, "--silent", "--pack-destination", str(cache)],
                check=True,
                capture_output=True,
                text=True,
                timeout=120,
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"axe-core cannot be fetched by npm: {error}")
        archive = cache / packed.stdout.split()[-1]
        with tarfile.open(archive) as opened:
            member = opened.extractfile("package/axe.min.js")
            assert member is not None
            part = source.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(member.read())
            part.replace(source)
        archive.unlink(missing_ok=True)
    return source.read_text("utf-8")


@pytest.fixture
def downloaded(browser: Browser, tmp_path: Path) -> Callable[[str], Path]:
    """Click the button with this text and return the file it saved."""
    from selenium.webdriver.support.ui import WebDriverWait

    setting = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Page.setDownloadBehavior", setting)

    def click(text: str) -> Path:
        browser.driver.find_element("xpath", f"//button[.='{text}']").click()
        kind = text.rpartition(" ")[2].lower()
        files = WebDriverWait(browser.driver, 20).until(lambda _: list(tmp_path.glob(f"*.{kind}")))
        return Path(files[0])

    return click
