"""What an ExecuTorch program says of itself, read from a real one; and every way in which one is bad."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.artifacts import check_model
from harness.artifacts.gguf_header import HeaderBroken, HeaderCut
from harness.artifacts.pte_header import PteHeader, read_header, recipes
from harness.errors import ErrorClass, Permanent

from . import files

REAL = Path(__file__).parents[2] / "data" / "farm-tiny-fp32-xnnpack.pte"
DATA = REAL.read_bytes()
PROGRAM = struct.unpack_from("<Q", DATA, 16)[0]
"""Bytes of the flatbuffer; segments of weights follow."""


def test_a_real_program() -> None:
    found = read_header(REAL)
    assert found.backends == ("XnnpackBackend",)
    assert set(found.methods) == {"forward", *found.constants}
    assert found.constants == {
        "get_vocab_size": 512,
        "get_max_seq_len": 256,
        "get_max_context_len": 256,
        "get_n_layers": 2,
        "get_n_weights": 426_624,
        "get_bos_id": 0,
        "get_eos_ids": 0,
        "use_kv_cache": 1,
        "enable_dynamic_shape": 1,
    }


def test_back_ends_have_labels() -> None:
    assert recipes(("XnnpackBackend", "MPSBackend", "MetalBackend")) == ("xnnpack", "metal")
    assert recipes(("VulkanBackend", "QnnBackend", "CoreMLBackend")) == ("vulkan", "qnn", "coreml")
    assert recipes(("EthosUBackend",)) == ("EthosUBackend",)


def test_a_program_for_another_back_end(tmp_path: Path) -> None:
    file = tmp_path / "m.pte"
    file.write_bytes(DATA.replace(b"XnnpackBackend", b"FictionBackend"))
    found = check_model(files.model(file, format="pte"), tmp_path, tmp_path / "cache")
    assert found.backends == ("FictionBackend",)


def test_a_checked_program(tmp_path: Path) -> None:
    found = check_model(files.model(REAL, format="pte"), tmp_path, tmp_path / "cache")
    assert found.artifact.files[0].name == "model.pte"
    assert (found.vocabulary_size, found.context_length, found.layer_count) == (512, 256, 2)
    assert found.parameter_count == 426_624
    assert "forward" in found.methods


def refused(tmp_path: Path, content: bytes) -> Permanent:
    file = tmp_path / "m.pte"
    file.write_bytes(content)
    with pytest.raises(Permanent) as caught:
        check_model(files.model(file, format="pte"), tmp_path, tmp_path / "cache")
    assert caught.value.advice
    return caught.value


def patched(at: int, layout: str, *values: int) -> bytes:
    data = bytearray(DATA)
    struct.pack_into(layout, data, at, *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "error_class", "said"),
    [
        (files.gguf(), ErrorClass.MODEL_INVALID, "no ET12"),
        (b"<html>not found</html>", ErrorClass.MODEL_INVALID, "web page"),
        (b"version https://git-lfs.github.com/spec/v1", ErrorClass.MODEL_INVALID, "Git LFS"),
        (DATA[:8], ErrorClass.MODEL_TRUNCATED, "point"),
        (DATA[:20], ErrorClass.MODEL_TRUNCATED, "inside its header"),
        (DATA[:36], ErrorClass.MODEL_TRUNCATED, "inside its header"),
        (DATA[:5000], ErrorClass.MODEL_TRUNCATED, "asks for"),
        (DATA[:-1], ErrorClass.MODEL_TRUNCATED, ""),
        (patched(0, "<I", 1 << 31), ErrorClass.MODEL_INVALID, "point"),
        (patched(16, "<Q", 16), ErrorClass.MODEL_INVALID, "16 bytes"),
        (patched(24, "<Q", len(DATA)), ErrorClass.MODEL_TRUNCATED, "asks for"),
        (DATA.replace(b"eh00", b"none"), ErrorClass.MODEL_INVALID, "no extended header"),
        (DATA.replace(b"forward", b"encoder"), ErrorClass.MODEL_UNSUPPORTED, "no method forward"),
    ],
)
def test_what_is_no_whole_program(tmp_path: Path, content: bytes, error_class: ErrorClass, said: str) -> None:
    error = refused(tmp_path, content)
    assert error.error_class is error_class
    assert said in error.message


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, PROGRAM - 1), st.binary(min_size=1, max_size=4)), max_size=8),
    st.one_of(st.none(), st.integers(0, len(DATA))),
)
def test_mutated_programs_are_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, bytes]], length: int | None
) -> None:
    data = bytearray(DATA)
    for at, content in changes:
        data[at : at + len(content)] = content
    file = tmp_path / "m.pte"
    file.write_bytes(data[:length])
    try:
        found = read_header(file)
    except (HeaderBroken, HeaderCut) as told:
        assert str(told)
    else:
        assert isinstance(found, PteHeader)
        assert found.methods


def _offsets() -> list[int]:
    """Where the tables on the way to the back ends are: roots, plans, names, delegates."""
    root = struct.unpack_from("<I", DATA)[0]
    return list(range(root, min(root + 4000, PROGRAM - 4)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(_offsets()), st.sampled_from([0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
def test_bad_offsets_near_the_root_are_read_or_refused(tmp_path: Path, at: int, value: int) -> None:
    data = bytearray(DATA)
    struct.pack_into("<I", data, at, value)
    file = tmp_path / "m.pte"
    file.write_bytes(data)
    try:
        read_header(file)
    except (HeaderBroken, HeaderCut) as told:
        assert str(told)
