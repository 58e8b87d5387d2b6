"""Check a model file: there, whole, of its format, of its hash; and read what its header says."""

from __future__ import annotations

from pathlib import Path

from harness.artifacts import gguf_header, pte_header
from harness.artifacts.hashing import sha256_of
from harness.artifacts.locate import find
from harness.artifacts.shape import integer, shape_of
from harness.errors import ErrorClass, Permanent
from harness.model import Artifact, ArtifactFile, Model, ModelFile
from harness.model.devices import ModelShape
from harness.supply.folders import cache_dir

_NEW_COPY = "get the file again (farm models fetch or make) and give its sha256 in the inventory"

_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"<", "a web page: the download needs a login or another address"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x80\x02", "a PyTorch pickle: convert it to GGUF"),
)
"""First bytes → what the file is instead of a model."""


def check_model(model: Model, base_dir: Path, cache: Path | None = None, *, fetch: bool = True) -> ModelFile:
    """Check one model of the inventory.

    Args:
        base_dir: folder of the inventory; a relative path starts there.
        cache: cache folder; None: the user's.
        fetch: download a model that is given by URL and not in the cache.

    Raises:
        Permanent: MODEL_MISSING, MODEL_INVALID, MODEL_TRUNCATED, MODEL_UNSUPPORTED or SHA256_MISMATCH.
    """
    cache = cache or cache_dir()
    file = find(model, base_dir, cache, ErrorClass.MODEL_MISSING, fetch=fetch)
    label = f"model {model.id}: {file}"
    try:
        if not file.is_file():
            raise Permanent(
                f"{label} is not a file", error_class=ErrorClass.MODEL_INVALID, advice="name the file itself"
            )
        size = file.stat().st_size
        if size == 0:
            raise Permanent(f"{label} is empty", error_class=ErrorClass.MODEL_INVALID, advice=_NEW_COPY)
        facts = _read_gguf(file, size, label) if model.format == "gguf" else _read_pte(file, label)
        digest = sha256_of(file, cache)
    except OSError as wrong:
        raise Permanent(
            f"{label} cannot be read: {wrong.strerror}",
            error_class=ErrorClass.MODEL_MISSING,
            advice="check its permissions",
        ) from wrong
    if model.sha256 and model.sha256.lower() != digest:
        raise Permanent(
            f"{label} has sha256 {digest}, the inventory says {model.sha256.lower()}",
            error_class=ErrorClass.SHA256_MISMATCH,
            advice="get the file again, or correct sha256 in the inventory",
        )
    artifact = Artifact("model", digest, (ArtifactFile(f"model.{model.format}", str(file), size, digest),))
    return ModelFile(artifact, *facts)


_Facts = tuple[
    str | None, int | None, int | None, int | None, int | None, ModelShape | None, tuple[str, ...], tuple[str, ...]
]
"""Architecture, weights, vocabulary, context, layers, shape, back ends, methods."""


def _read_gguf(file: Path, size: int, label: str) -> _Facts:
    try:
        header = gguf_header.read_header(file)
    except gguf_header.HeaderCut as cut:
        raise _foreign_or(
            file, Permanent(f"{label} is cut: {cut}", error_class=ErrorClass.MODEL_TRUNCATED, advice=_NEW_COPY)
        ) from None
    except gguf_header.HeaderBroken as broken:
        raise _foreign_or(
            file,
            Permanent(f"{label} is no GGUF model: {broken}", error_class=ErrorClass.MODEL_INVALID, advice=_NEW_COPY),
        ) from None
    if header.needed_size > size:
        raise Permanent(
            f"{label} is truncated: its header asks for {header.needed_size} bytes, the file has {size}",
            error_class=ErrorClass.MODEL_TRUNCATED,
            advice=_NEW_COPY,
        )
    if header.tensor_count == 0:
        raise Permanent(
            f"{label} holds no weights (a vocabulary or metadata only)",
            error_class=ErrorClass.MODEL_INVALID,
            advice="name the model itself",
        )
    parts = integer(header, "split.count")
    if parts is not None and parts > 1:
        raise Permanent(
            f"{label} is one of {parts} parts of a split model",
            error_class=ErrorClass.MODEL_UNSUPPORTED,
            advice="join them first: llama-gguf-split --merge",
        )
    architecture = header.values.get("general.architecture")
    name = architecture if isinstance(architecture, str) else None
    vocabulary = integer(header, f"{name}.vocab_size") or header.lengths.get("tokenizer.ggml.tokens")
    return (
        name,
        header.parameter_count,
        vocabulary or header.embedding_rows,
        integer(header, f"{name}.context_length"),
        integer(header, f"{name}.block_count"),
        shape_of(header),
        (),
        (),
    )


def _foreign_or(file: Path, error: Permanent) -> Permanent:
    """A better error when the first bytes tell what the file is instead."""
    with file.open("rb") as stream:
        start = stream.read(64).lstrip()
    for first, what in _FOREIGN:
        if start.startswith(first):
            said, _, advice = what.partition(": ")
            return Permanent(
                f"{error.message.partition(' is ')[0]} is {said}",
                error_class=ErrorClass.MODEL_INVALID,
                advice=advice or _NEW_COPY,
            )
    return error


def _read_pte(file: Path, label: str) -> _Facts:
    try:
        header = pte_header.read_header(file)
    except gguf_header.HeaderCut as cut:
        raise Permanent(
            f"{label} is truncated: {cut}", error_class=ErrorClass.MODEL_TRUNCATED, advice=_NEW_COPY
        ) from None
    except gguf_header.HeaderBroken as broken:
        error = Permanent(
            f"{label} is no ExecuTorch program: {broken}", error_class=ErrorClass.MODEL_INVALID, advice=_NEW_COPY
        )
        raise (_foreign_or(file, error) if isinstance(broken, pte_header.NoProgram) else error) from None
    if "forward" not in header.methods:
        raise Permanent(
            f"{label} has no method forward, only {', '.join(header.methods)[:200]}",
            error_class=ErrorClass.MODEL_UNSUPPORTED,
            advice="export it as one decoder: farm models export-pte",
        )

    def constant(name: str) -> int | None:
        value = header.constants.get(name, 0)
        return value if value > 0 else None

    return (
        None,
        constant("get_n_weights"),
        constant("get_vocab_size"),
        constant("get_max_context_len"),
        constant("get_n_layers"),
        None,
        header.backends,
        header.methods,
    )
