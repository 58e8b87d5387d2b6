"""Models that appear in folders: what they are called, and what is left out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model import Inventory, Model, ModelFolder, Nightly, Suite
from harness.nightly.new_models import ModelsFound, models_in, with_models
from harness.plan import models_of
from tests.unit.artifacts import files
from tests.unit.nightly.shelf import INVENTORY, OLD, set_time

PTE = Path(__file__).parents[2] / "data" / "farm-tiny-fp32-xnnpack.pte"
WATCHING = replace(INVENTORY, nightly=Nightly(models=(ModelFolder("new", "team"), ModelFolder("more"))))


def add(base: Path, name: str, values: Mapping[str, int | str] | None = None, *, at: float = OLD) -> Path:
    file = base / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(files.gguf(values))
    set_time(file, at)
    return file


def found(base: Path, inventory: Inventory = WATCHING, now: float = OLD + 1000) -> ModelsFound:
    (base / "new").mkdir(exist_ok=True)
    (base / "more").mkdir(exist_ok=True)
    return models_in(inventory, base, now=now, cache=base / "cache")


def test_a_model_is_described_by_its_header(tmp_path: Path) -> None:
    add(
        tmp_path,
        "new/first.gguf",
        {"general.basename": "SmolLM2", "general.size_label": "135M", "general.file_type": 15},
    )
    assert found(tmp_path) == ModelsFound(
        (Model("first", "SmolLM2-135M", "Q4_K_M", "gguf", path="new/first.gguf", owner="team"),), ()
    )


@pytest.mark.parametrize(
    ("name", "values", "family", "quant"),
    [
        ("a-q4_0", {"general.name": "SmolLM2-360M (random weights)", "general.file_type": 1}, "SmolLM2-360M", "F16"),
        ("a-q8_0", {"general.name": "Phi-3-mini Q8_0"}, "Phi-3-mini", "Q8_0"),
        ("a-q8_0", {"general.basename": "B", "general.size_label": "1B", "general.finetune": "It"}, "B-1B-It", "Q8_0"),
        ("smollm2-135m-q5_k_m", {}, "smollm2-135m", "Q5_K_M"),
        ("phi_iq2_xxs", {"general.file_type": 1024}, "phi", "IQ2_XXS"),
        ("plain", {"general.file_type": 9999}, "plain", "F16"),
        ("-f16", {}, "-f16", "F16"),
        ("x-bf16", {"general.name": "two\nlines", "general.basename": " "}, "x", "BF16"),
        ("y-f16", {"general.name": "n" * 200}, "y", "F16"),
        ("z", {"general.name": "known"}, "Known", "F16"),
    ],
)
def test_family_and_form(tmp_path: Path, name: str, values: Mapping[str, int | str], family: str, quant: str) -> None:
    add(tmp_path, f"new/{name}.gguf", values)
    known = replace(WATCHING, models=(Model("k", "Known", "F16", "gguf", path="k.gguf"),))
    (only,) = found(tmp_path, known).models
    assert (only.id, only.family, only.quant) == (name, family, quant)


@pytest.mark.parametrize(
    ("name", "family", "quant"),
    [
        ("smollm2-135m-8da4w-g32-xnnpack", "smollm2-135m", "8da4w-g32-xnnpack"),
        ("smollm2-135m-fp32-xnnpack-c512", "smollm2-135m", "fp32-xnnpack"),
        ("mine", "mine", "xnnpack"),
    ],
)
def test_a_program_is_described_by_its_name_and_its_back_ends(
    tmp_path: Path, name: str, family: str, quant: str
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copyfile(PTE, tmp_path / "new" / f"{name}.pte")
    set_time(tmp_path / "new" / f"{name}.pte", OLD)
    assert found(tmp_path).models == (Model(name, family, quant, "pte", path=f"new/{name}.pte", owner="team"),)


def test_what_the_inventory_has_is_not_taken_twice(tmp_path: Path) -> None:
    add(tmp_path, "new/m.gguf")
    add(tmp_path, "new/file.gguf")
    known = replace(WATCHING, models=(*WATCHING.models, Model("other", "F", "F16", "gguf", path="new/file.gguf")))
    assert found(tmp_path, known) == ModelsFound((), ())


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    add(tmp_path, "new/good.gguf")
    add(tmp_path, "more/good.gguf", {"general.file_type": 7})
    add(tmp_path, "new/fresh.gguf", at=OLD + 999)
    add(tmp_path, "new/part.gguf.part")
    for name, data in {
        "cut.gguf": files.gguf()[:200],
        "page.gguf": b"<html>",
        "empty.pte": b"",
        "read.me": b"x",
        "star*.gguf": files.gguf(),
        "two\nlines.gguf": files.gguf(),
        " .gguf": files.gguf(),
    }.items():
        (tmp_path / "new" / name).write_bytes(data)
        set_time(tmp_path / "new" / name, OLD)
    told = found(tmp_path)
    assert [(model.id, model.owner) for model in told.models] == [("good", "team")]
    notes = "\n".join(told.notes)
    for text in (
        '"good.gguf" in "more" is left out: good.gguf gives a model of the same id: rename one of them',
        '"fresh.gguf" in "new" is left out: it is still being written',
        '"part.gguf.part" in "new" is left out: it is a partial download',
        '"cut.gguf" in "new" is left out: it is cut: it ends at byte 200',
        '"page.gguf" in "new" is left out: it is a web page',
        '"empty.pte" in "new" is left out: it is empty',
        '"read.me" in "new" is left out: it is neither a .gguf nor a .pte',
        '"star*.gguf" in "new" is left out: its name holds * or ?',
        '"two\\x0alines.gguf" in "new" is left out: its name holds control characters',
        '" .gguf" in "new" is left out: its name holds control characters, or spaces at an end',
    ):
        assert text in notes
    assert len(told.notes) == 10


@pytest.mark.parametrize("name", ["it's $(id)", 'a "b"', "ünï-中文", "a b", "<b>&", "-rf"])
def test_a_hostile_name_is_a_name(tmp_path: Path, name: str) -> None:
    add(tmp_path, f"new/{name}.gguf")
    (only,) = found(tmp_path).models
    assert (only.id, only.path) == (name, f"new/{name}.gguf")


def test_new_models_are_measured_whatever_the_suite_is_limited_to() -> None:
    new = Model("new", "F", "Q", "gguf", path="new/new.gguf")
    limited = with_models(INVENTORY, [new])
    assert models_of(limited, (), limited.suites["standard"]) == (*INVENTORY.models, new)
    free = with_models(replace(INVENTORY, suites={"standard": Suite(("bench",))}), [new])
    assert free.suites["standard"].models == ()
    assert models_of(free, (), free.suites["standard"]) == (*INVENTORY.models, new)
    assert with_models(INVENTORY, []) == INVENTORY
