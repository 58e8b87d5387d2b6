"""Forms of a PTE model that can be made, and whether the packages for it are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from harness.errors import ErrorClass, Permanent

PACKAGES: Mapping[str, str] = {"torch": "2.13.0", "executorch": "1.5.1", "torchao": "0.18.0"}
"""What an export is made with (the extra `executorch`): other versions write other programs."""

DEFAULT_CONTEXT = 1024
"""Tokens of the KV cache, which a PTE has for good. Every step attends to all of them, so more is slower."""

MAX_TOKENS = 512
"""Most tokens of one call: llama.cpp's default of a micro batch."""


@dataclass(frozen=True, slots=True)
class PteForm:
    """How weights are stored and which back end the program is made for.

    Args:
        name: as it is asked for; its last part is the label of the back end.
        group: weights that share a scale, for 4 bit weights with 8 bit activations (8da4w); None: float32.
    """

    name: str
    group: int | None


FORMS: Mapping[str, PteForm] = {
    form.name: form
    for form in (
        PteForm("fp32-xnnpack", None),
        PteForm("8da4w-g32-xnnpack", 32),
        PteForm("8da4w-g128-xnnpack", 128),
    )
}


def file_name(model: str, form: str, context: int = DEFAULT_CONTEXT) -> str:
    """Name of a PTE: "smollm2-135m-fp32-xnnpack.pte"; a context other than the default is named in it."""
    tail = "" if context == DEFAULT_CONTEXT else f"-c{context}"
    return f"{model.lower()}-{form}{tail}.pte"


def why_unavailable() -> str | None:
    """One line telling what an export lacks here, or None. Imports nothing."""
    wrong = []
    for package, wanted in PACKAGES.items():
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            wrong.append(f"{package} {wanted} is not installed")
            continue
        if found.partition("+")[0] != wanted:
            wrong.append(f"{package} is {found}, not {wanted}")
    return ", ".join(wrong) or None


def require() -> None:
    """Check that an export can be made here.

    Raises:
        Permanent: a package is missing or of another version; the advice says what to install and how large it is.
    """
    reason = why_unavailable()
    if reason is None:
        return
    torch, executorch = PACKAGES["torch"], PACKAGES["executorch"]
    raise Permanent(
        f"a PTE model is exported by PyTorch and ExecuTorch, and here {reason}",
        error_class=ErrorClass.CONFIGURATION_UNSUPPORTED,
        advice=(
            "first torch's CPU build (0.2 GB), which not every index has: "
            f"pip install torch=={torch} --index-url https://download.pytorch.org/whl/cpu "
            "(without the index, Linux gets the CUDA build, 3 GB with its libraries, which is not needed); "
            f"then executorch {executorch} and torchao: pip install 'farm[executorch]'"
        ),
    )
