"""How much memory a llama.cpp process will take, told before it starts, and whether the phone has it.

Problem. A model that does not fit hangs or reboots a phone: the low-memory killer looks at apps and does not know
processes of the shell. So the fit is judged from the model's header before anything is loaded.

Method. The peak is the sum of
* weights: every tensor. Mapped they are file memory, which the system can drop and read again; read or locked they
  cannot be dropped.
* repacked weights: matrices that the CPU back end lays out anew for its kernels. They are anonymous copies; where the
  weights are mapped the pages they were read from stay as well.
* KV cache: kv_head_layers × context × (key_length × bytes of type K + value_length × bytes of type V), exact.
* compute buffer as far as it is touched: micro-batch × 4 × (4 × feed_forward + 2 × embedding) bytes, the mask
  (2 × context × micro-batch bytes), and without flash attention the scores (4 × heads × context × micro-batch bytes).
  llama.cpp allocates more (the logits of a whole micro-batch), but only the logits of the last token are written.
* overhead: 217 bytes per word of the vocabulary, 0.19 MB of graph per layer, and the program itself.

The formulae of weights, KV cache and repacking are those of llama.cpp (`llama-model.cpp`, `llama-kv-cache.cpp`,
`ggml-cpu/repack.cpp`); the factors of the compute buffer and the overhead are fitted to llama-bench and llama-server
0.7.0 on x86-64. Of the 24 peaks it was fitted to the sum is off by at most 2.1 %, of another shape by at most 1.3 %;
`ERROR` allows for more. Not covered: back ends other than the CPU, recurrent state, latent attention; a sliding
window makes the KV cache smaller than told here.

Margin. Android keeps a list of free-memory levels (AOSP `ProcessList.mOomMinFreeHigh`, 64 bit: 73 728 kB for what is in
the foreground up to 322 560 kB for empty cached apps). Above the highest nothing is killed, below the lowest even the
foreground is. Swap is not counted: zram holds its pages compressed, and quantised weights hardly compress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.model import MEGABYTE, Measured, ModelFile, Reading, Unavailable, Workload, WorkloadKind
from harness.model.devices import ModelShape

ERROR = 0.10
"""Relative error that a verdict allows for."""

FIRST_KILL_MB = 322_560 * 1024 / MEGABYTE
"""Free memory below which the system begins to end cached apps."""

LAST_KILL_MB = 73_728 * 1024 / MEGABYTE
"""Free memory below which it ends even what is in the foreground."""

MICRO_BATCH = 512
BATCH = 2048
CONTEXT_STEP = 256
"""llama.cpp's defaults: tokens computed at a time, tokens per call, and what a context is rounded up to."""

_BYTES_PER_WORD = 217
_GRAPH_MB_PER_LAYER = 0.19
_PROGRAM_MB: Mapping[str, tuple[float, float]] = {"bench": (0.2, 13.2), "server": (3.5, 18.0)}
"""Anonymous and file memory of the program with its libraries."""

_BYTES_PER_NUMBER: Mapping[str, float] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""ggml block sizes of the types that a KV cache may have."""

_REPACKED: Mapping[str, frozenset[str]] = {
    "x86_64": frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}),
    "arm64-v8a": frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"}),
}
"""Types repacked by `ggml_repack_get_optimal_repack_type` with AVX2, and with dotprod or i8mm (newest builds)."""

_NO_REPACK = (("--no-repack",), ("-nr",), ("--repack", "0"))


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """What of a workload decides memory.

    Args:
        program: "bench" or "server".
        context: tokens of KV cache.
        micro_batch: tokens computed at a time.
        kv_type: of keys and values.
        scores: whether attention scores are kept (flash attention off).
        load_mode: "mmap", "read" or "mlock".
        repack: whether the CPU back end may repack.
        abi: Android name of the machine.
        backend: "cpu" or another.
    """

    program: Literal["bench", "server"]
    context: int
    micro_batch: int
    kv_type: str
    scores: bool
    load_mode: Literal["mmap", "read", "mlock"]
    repack: bool
    abi: str
    backend: str = "cpu"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Parts of the peak in MB (10^6 bytes); `file` of the weights and the program is reclaimable."""

    weights_mb: float
    repacked_mb: float
    kv_mb: float
    compute_mb: float
    overhead_mb: float
    reclaimable_mb: float

    @property
    def peak_mb(self) -> float:
        """Resident memory at its highest."""
        return self.weights_mb + self.repacked_mb + self.kv_mb + self.compute_mb + self.overhead_mb

    @property
    def unreclaimable_mb(self) -> float:
        """What the system cannot take back without ending the process."""
        return self.peak_mb - self.reclaimable_mb


@dataclass(frozen=True, slots=True)
class Prediction:
    """Whether a model fits.

    Args:
        verdict: "works" (nothing of the phone has to go), "risk" (apps will be ended, or mapped weights read again and
            again), "crashes" (the phone hangs, reboots, or the runner is ended), "unknown".
        reason: the numbers behind it, or why it is unknown.
        footprint: None when it cannot be told.
        available_mb: MemAvailable before the start, None when it was not read.
        floor_mb: free memory below which the runner would be ended.
    """

    verdict: Literal["works", "risk", "crashes", "unknown"]
    reason: str
    footprint: Footprint | None
    available_mb: float | None
    floor_mb: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; what is unknown is null."""
        parts = {name: round(value, 1) for name, value in asdict(self.footprint).items()} if self.footprint else None
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "peak_mb": round(self.footprint.peak_mb, 1) if self.footprint else None,
            "unreclaimable_mb": round(self.footprint.unreclaimable_mb, 1) if self.footprint else None,
            "parts": parts,
            "available_mb": self.available_mb,
            "floor_mb": round(self.floor_mb, 1),
            "error_allowed": ERROR,
        }


def request_of(workload: Workload, model: ModelFile, abi: str, *, prompt_tokens: int | None = None) -> MemoryRequest:
    """What `workload` asks of the runtime, with llama.cpp's defaults for what it leaves open.

    Args:
        abi: of the runner's build.
        prompt_tokens: most tokens that a prompt file may come to; None: the workload's own count.
    """
    bench = workload.kind is WorkloadKind.THROUGHPUT
    prompt = prompt_tokens or workload.prompt_tokens
    tokens = max(prompt, workload.gen_tokens) if bench else prompt + workload.gen_tokens
    context = workload.context or -(-tokens // CONTEXT_STEP) * CONTEXT_STEP
    words = tuple(word for each in workload.args for word in each.split("=", 1))
    without = any(words[at : at + len(option)] == option for option in _NO_REPACK for at in range(len(words)))
    return MemoryRequest(
        program="bench" if bench else "server",
        context=min(context, model.context_length or context),
        micro_batch=min(MICRO_BATCH, workload.batch or BATCH, prompt),
        kv_type=(workload.kv_type or "f16").lower(),
        scores=workload.flash_attn is False,
        load_mode=workload.load_mode or "mmap",
        repack=not without,
        abi=abi,
        backend=workload.backend if not workload.gpu_layers else f"{workload.backend}, {workload.gpu_layers} layers",
    )


def footprint(model: ModelFile, request: MemoryRequest) -> Footprint | Unavailable:
    """Memory of one process of `model` as `request` asks, or why it cannot be told."""
    shape = model.shape
    per_number = _BYTES_PER_NUMBER.get(request.kv_type)
    if shape is None:
        return Unavailable("the file's header says nothing of its tensors")
    if request.backend != "cpu":
        return Unavailable(f"back end {request.backend} keeps memory that is not told by the header")
    if shape.other_state:
        return Unavailable(f"{model.architecture} keeps more than keys and values ({shape.other_state})")
    if per_number is None:
        return Unavailable(f"size of KV cache type {request.kv_type!r} is not known")
    sizes = (shape.kv_head_layers, shape.key_length, shape.value_length, shape.embedding_length)
    if model.vocabulary_size is None or model.layer_count is None or None in sizes:
        return Unavailable("the header lacks a size: layers, heads, head length, width or vocabulary")
    heads, key, value, width = (size or 0 for size in sizes)
    kv = heads * request.context * (key + value) * per_number
    activations = 4 * (4 * (shape.feed_forward_length or 4 * width) + 2 * width)
    scores = 4 * (shape.head_count or 0) if request.scores else 0
    compute = request.micro_batch * (activations + request.context * (2 + scores))
    weights = sum(group.size for group in shape.weights)
    repacked = repacked_bytes(shape, request)
    anonymous_mb, program_mb = _PROGRAM_MB[request.program]
    overhead_mb = anonymous_mb + program_mb + _GRAPH_MB_PER_LAYER * model.layer_count
    mapped = request.load_mode == "mmap"
    # Read weights are repacked as they come in; of mapped ones the pages that were read stay beside the copy.
    copies = repacked if request.load_mode != "read" else repacked_bytes(shape, request, only_embedding=True)
    return Footprint(
        weights_mb=weights / MEGABYTE,
        repacked_mb=copies / MEGABYTE,
        kv_mb=kv / MEGABYTE,
        compute_mb=compute / MEGABYTE,
        overhead_mb=overhead_mb + _BYTES_PER_WORD * model.vocabulary_size / MEGABYTE,
        reclaimable_mb=program_mb + (weights / MEGABYTE if mapped else 0.0),
    )


def repacked_bytes(shape: ModelShape, request: MemoryRequest, *, only_embedding: bool = False) -> int:
    """Bytes of weights that the CPU back end of `request.abi` lays out anew.

    A tied output layer that is repacked becomes a copy of the embedding, which is still looked up by row.
    """
    kinds = _REPACKED.get(request.abi, frozenset()) if request.repack else frozenset()
    roles = {"embedding"} if shape.tied_output else set()
    if not only_embedding:
        roles.add("matrix")
    return sum(group.size for group in shape.weights if group.quant in kinds and group.role in roles)


def predict(
    model: ModelFile, request: MemoryRequest, available: Reading | None, *, floor_mb: float = LAST_KILL_MB
) -> Prediction:
    """Whether the phone has the memory.

    Args:
        available: MemAvailable before the start, MB.
        floor_mb: free memory below which our own watchdog ends the runner; never taken lower than `LAST_KILL_MB`.
    """
    floor_mb = max(floor_mb, LAST_KILL_MB)
    needed = footprint(model, request)
    free = available.value if isinstance(available, Measured) else None
    if isinstance(needed, Unavailable):
        return _by_size(model, request, needed.reason, free, floor_mb)
    if free is None:
        why = available.reason if isinstance(available, Unavailable) else "not read"
        return Prediction("unknown", f"free memory of the phone is unknown: {why}", needed, None, floor_mb)
    fixed, peak = needed.unreclaimable_mb, needed.peak_mb
    numbers = f"peak {peak:.0f} MB, of which {fixed:.0f} MB cannot be taken back; {free:.0f} MB available"
    if fixed * (1 - ERROR) > free - floor_mb:
        return Prediction("crashes", f"{numbers}, {floor_mb:.0f} MB must stay free", needed, free, floor_mb)
    comfort = max(FIRST_KILL_MB, floor_mb)
    if peak * (1 + ERROR) > free - comfort:
        return Prediction("risk", f"{numbers}, under {comfort:.0f} MB free apps are ended", needed, free, floor_mb)
    return Prediction("works", numbers, needed, free, floor_mb)


def _by_size(model: ModelFile, request: MemoryRequest, reason: str, free: float | None, floor_mb: float) -> Prediction:
    """Where the header does not tell, the file's own size is the least that is needed."""
    size = model.artifact.size / MEGABYTE
    if free is None or size <= free - floor_mb:
        return Prediction("unknown", reason, None, free, floor_mb)
    told = f"the model file alone has {size:.0f} MB, {free:.0f} MB are available ({reason})"
    mapped = model.shape is not None and request.load_mode == "mmap"
    return Prediction("risk" if mapped else "crashes", told, None, free, floor_mb)


def aftermath(prediction: Prediction, peak: Reading, error_class: str | None) -> dict[str, Any]:
    """The prediction beside what then happened, JSON-ready.

    Args:
        peak: measured `peak_memory_mb`.
        error_class: how the measurement failed, None when it did not.
    """
    measured = peak.value if isinstance(peak, Measured) else None
    told = prediction.footprint.peak_mb if prediction.footprint else None
    return {
        **prediction.to_json(),
        "happened": error_class or "measured",
        "measured_peak_mb": measured,
        "measured_over_predicted": round(measured / told, 3) if measured is not None and told else None,
    }
