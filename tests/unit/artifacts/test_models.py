"""Model files: what a good one says, and every way in which one is bad."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.artifacts import check_model
from harness.artifacts.gguf_header import HeaderBroken, HeaderCut, read_header
from harness.errors import ErrorClass, Permanent

from . import files

GOOD = files.gguf()


def refused(path: Path, cache: Path, **changes: object) -> Permanent:
    with pytest.raises(Permanent) as caught:
        check_model(files.model(path, **changes), path.parent, cache)
    assert caught.value.advice
    assert "model m" in caught.value.message
    return caught.value


def test_a_good_model_and_what_its_header_says(tmp_path: Path) -> None:
    file = tmp_path / "a model; $(touch x) <b>.gguf"
    file.write_bytes(GOOD)
    found = check_model(files.model(file.name), tmp_path, tmp_path / "cache")
    assert (found.architecture, found.context_length, found.layer_count) == ("llama", 2048, 2)
    assert found.parameter_count == 64 * 100 + 64
    assert found.vocabulary_size == 100
    digest = hashlib.sha256(GOOD).hexdigest()
    assert found.artifact.sha256 == digest
    (only,) = found.artifact.files
    assert only.name == "model.gguf", "no hostile name reaches a phone, and equal content has an equal name"
    assert (only.path, only.size, only.sha256) == (str(file), len(GOOD), digest)


def test_the_hash_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GOOD)
    first = check_model(files.model(file), tmp_path, tmp_path / "cache").artifact.sha256
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 1
    changed = bytearray(GOOD)
    changed[-1] ^= 1
    times = file.stat()
    file.write_bytes(changed)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = check_model(files.model(file), tmp_path, tmp_path / "cache").artifact.sha256
    assert second == hashlib.sha256(changed).hexdigest() != first


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GOOD)
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file")
    assert check_model(files.model(file), tmp_path, in_the_way).architecture == "llama"


def test_truncated_in_the_weights_says_the_numbers(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GOOD[:-100])
    error = refused(file, tmp_path / "cache")
    assert error.error_class is ErrorClass.MODEL_TRUNCATED
    assert f"asks for {len(GOOD)} bytes, the file has {len(GOOD) - 100}" in error.message


@pytest.mark.parametrize("length", [5, 20, 30, 100, 300])
def test_truncated_in_the_header(tmp_path: Path, length: int) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GOOD[:length])
    assert refused(file, tmp_path / "cache").error_class is ErrorClass.MODEL_TRUNCATED


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"hello world, not a model", "does not start with GGUF"),
        (b"GG", "cut"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>Log in</html>", "web page"),
        (b"PK\x03\x04" + bytes(100), "ZIP"),
        (b"GGUF" + bytes(20), "version 0"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(20), "big-endian"),
        (files.gguf(tensors=()), "no weights"),
        (files.gguf(version=9), "version 9"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, part: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    error = refused(file, tmp_path / "cache")
    assert part in error.message
    assert error.error_class is (ErrorClass.MODEL_TRUNCATED if part == "cut" else ErrorClass.MODEL_INVALID)


def test_missing_folder_and_unusable_paths(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.gguf", tmp_path / "c").error_class is ErrorClass.MODEL_MISSING
    (tmp_path / "folder.gguf").mkdir()
    assert refused(tmp_path / "folder.gguf", tmp_path / "c").error_class is ErrorClass.MODEL_INVALID
    assert refused(tmp_path / ("x" * 300), tmp_path / "c").error_class is ErrorClass.MODEL_MISSING


def test_another_sha256(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(GOOD)
    error = refused(file, tmp_path / "cache", sha256="0" * 64)
    assert error.error_class is ErrorClass.SHA256_MISMATCH
    assert "0" * 64 in error.message
    upper = hashlib.sha256(GOOD).hexdigest().upper()
    check_model(files.model(file, sha256=upper), tmp_path, tmp_path / "cache")


def test_a_part_of_a_split_model_is_not_supported(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(files.gguf({"split.count": 3}))
    error = refused(file, tmp_path / "cache")
    assert error.error_class is ErrorClass.MODEL_UNSUPPORTED
    assert "3 parts" in error.message


def header(*, tensors: int = 0, pairs: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + rest


HOSTILE = {
    "many tensors": header(tensors=2**63),
    "many entries": header(pairs=2**60),
    "long key": header(pairs=1, rest=struct.pack("<Q", 2**63)),
    "huge array": header(pairs=1, rest=files.text("k") + struct.pack("<IIQ", 9, 8, 2**62)),
    "huge numbers": header(pairs=1, rest=files.text("k") + struct.pack("<IIQ", 9, 10, 2**62)),
    "nested arrays": header(pairs=1, rest=files.text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000),
    "unknown type": header(pairs=1, rest=files.text("k") + struct.pack("<I", 77)),
    "unknown element": header(pairs=1, rest=files.text("k") + struct.pack("<IIQ", 9, 77, 1)),
    "dimensions": header(tensors=1, rest=files.text("t") + struct.pack("<I", 2**31)),
    "elements": header(tensors=1, rest=files.text("t") + struct.pack("<IQQQIQ", 3, 2**40, 2**40, 2**40, 0, 0)),
    "offset": header(tensors=1, rest=files.text("t") + struct.pack("<IQIQ", 1, 8, 0, 2**63)),
    "alignment": header(pairs=1, rest=files.text("general.alignment") + struct.pack("<II", 4, 0)),
    "alignment of text": header(pairs=1, rest=files.text("general.alignment") + struct.pack("<I", 8) + files.text("x")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_at_once(tmp_path: Path, name: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(HOSTILE[name] + bytes(1000 if name == "offset" else 0))
    began = time.perf_counter()
    error = refused(file, tmp_path / "cache")
    assert error.error_class in (ErrorClass.MODEL_INVALID, ErrorClass.MODEL_TRUNCATED)
    assert time.perf_counter() - began < 2


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6), st.integers(0, len(GOOD)))
def test_mutated_headers_are_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(GOOD)
    for at, byte in changes:
        data[at] = byte
    file = tmp_path / "m.gguf"
    file.write_bytes(data[:length])
    try:
        found = read_header(file)
    except (HeaderBroken, HeaderCut) as told:
        assert str(told)
    else:
        assert found.parameter_count >= 0
