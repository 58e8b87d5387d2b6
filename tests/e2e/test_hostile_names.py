"""Names with spaces, quotes, `$(…)`, `;` and `<script>` are data: on the phone, in the database, in the report."""

from __future__ import annotations

import html

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, SCRATCH, Farm, left_on
from tests.lab.conftest import RunningLab

PHONE = "pixel-8-pro"

NAMES = (
    f"a name; touch {SCRATCH}-pwned; $(touch {SCRATCH}-pwned) `touch {SCRATCH}-pwned`",
    "<script>document.title='pwned'</script>",
    'it\'s "quoted" & {{ 7 * 7 }} %s \\ Ünïcode 手机 📱',
    "[bold]markup[/bold] [/nothing]",
)


def test_hostile_names_are_measured_and_shown_as_they_are(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(PHONE)
    device = {**farm.inventory["devices"][0], "id": NAMES[0]}
    models = []
    for number, name in enumerate(NAMES):
        file = f"{number} {name}".replace("/", "_") + ".gguf"
        models.append({**farm.model(file), "id": name, "family": name, "quant": name})
    farm.write(
        lab={"name": NAMES[1]},
        devices=[device],
        models=models,
        runners=[{**farm.runner(ANSWER, id="r"), "id": NAMES[2]}],
        workloads={NAMES[1]: farm.inventory["workloads"]["bench"]},
        suites={NAMES[3]: {"workloads": [NAMES[1]], "repeats": 1}},
    )
    lab.says(PHONE, f"rm -f {SCRATCH}-pwned")
    farm("plan", "--suite", NAMES[3]).expect(0)
    done = farm("run", "--suite", NAMES[3], "--device", NAMES[0]).expect(0)
    rows = farm.rows()
    assert sorted(row["model"] for row in rows) == sorted(NAMES)
    assert {(row["device"], row["runner"], row["workload"]) for row in rows} == {(NAMES[0], NAMES[2], NAMES[1])}
    assert lab.shell(PHONE, f"ls {SCRATCH}-pwned").returncode != 0
    assert left_on(lab, PHONE) == ""

    for page in (farm.folder / ".farm" / "reports").glob("*.html"):
        text = page.read_text("utf-8")
        assert "<script>document" not in text
        assert "{{" not in text.replace(html.escape(NAMES[2]), "").replace(NAMES[2], "") or "7 * 7" in text
    pages = "".join(page.read_text("utf-8") for page in (farm.folder / ".farm" / "reports").glob("*.html"))
    assert "&lt;script&gt;document" in pages
    assert "[bold]markup[/bold]" in done.err, "a name is no markup"
    for row in rows:
        farm("show", row["case"]).expect(0)


def test_hostile_names_on_the_host(on_host: Farm) -> None:
    farm = on_host
    pwned = farm.folder / "pwned"
    name = f"x'; touch {pwned}; $(touch {pwned}) <b>"
    model = farm.model(f"m $(touch {pwned.name}).gguf")
    farm.write(
        devices=[{**farm.inventory["devices"][0], "id": name}],
        models=[{**model, "id": name}],
        runners=[{**farm.runner(ANSWER, platform="local", id="r"), "id": name}],
    )
    farm("run").expect(0)
    assert [row["model"] for row in farm.rows()] == [name]
    assert not pwned.exists()
    assert not list(farm.folder.rglob("pwned"))


@pytest.mark.parametrize("name", ["", "line\nbreak", "bell\x07"])
def test_names_that_no_terminal_could_show(on_host: Farm, name: str) -> None:
    farm = on_host
    farm.write(models=[{**farm.model(), "id": name}], runners=[farm.runner(ANSWER, platform="local")])
    done = farm("run")
    assert done.code in (0, 2)
    assert "Traceback" not in done.err and "\x07" not in done.err + done.out
