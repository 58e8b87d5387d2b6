"""What llama.cpp's tools share: option names that drifted between builds, KV cache types, back ends."""

from __future__ import annotations

from android_runner.base import Problem, RunRequest
from harness.errors import ErrorClass
from harness.model import RunnerBuild, Workload

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""`--cache-type-k` of llama.cpp 0.7.0."""

_FULL_PRECISION = ("f32", "f16", "bf16")
_SINCE_FLASH_ATTN_TAKES_A_VALUE = ("--cache-ram", "--fit", "--load-mode")
"""Options that came soon after `-fa` of llama-server changed from a flag to `-fa on|off|auto`."""

_LOAD_MODES = {"mmap": "mmap", "read": "none", "mlock": "mlock"}


def knows(build: RunnerBuild, option: str) -> bool:
    """Whether the build mentions `option`; a build that cannot be read is taken to know everything."""
    return build.options is None or option in build.options


def unknown_option(option: str, build: RunnerBuild, program: str) -> Problem | None:
    """A problem when the build does not know `option`."""
    if knows(build, option):
        return None
    return Problem(
        ErrorClass.OPTION_UNKNOWN,
        f"this build of {program} does not know {option}",
        "take another build, or remove what asks for it from the workload",
    )


def first_unknown(options: tuple[str, ...], build: RunnerBuild, program: str) -> Problem | None:
    """The problem of the first option that the build does not know, or None."""
    return next((problem for option in options if (problem := unknown_option(option, build, program))), None)


def extra_options(workload: Workload) -> tuple[str, ...]:
    """The option names among the workload's own args."""
    names = (word.split("=", 1)[0] for word in workload.args)
    return tuple(word for word in names if word.startswith("-") and not word[1:2].isdigit() and word != "-")


def common_refusal(workload: Workload, build: RunnerBuild, program: str) -> Problem | None:
    """What every tool of llama.cpp refuses: no such program, KV types, back ends."""
    if program not in build.programs:
        return no_program(build, program)
    if workload.kv_type is not None and workload.kv_type.lower() not in KV_TYPES:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            f"llama.cpp has no KV cache type {workload.kv_type!r}",
            f"use one of {', '.join(KV_TYPES)}",
        )
    if workload.kv_type and workload.kv_type.lower() not in _FULL_PRECISION and workload.flash_attn is False:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            f"a quantised KV cache ({workload.kv_type}) needs flash attention, which the workload switches off",
            "remove flash_attn: false, or use kv_type: f16",
        )
    return _backend_refusal(workload, build)


def no_program(build: RunnerBuild, program: str) -> Problem:
    """The build lacks the program."""
    found = ", ".join(sorted(build.programs)) or "none"
    return Problem(
        ErrorClass.RUNNER_INVALID, f"the build has no {program} (programs: {found})", "take the complete archive"
    )


def cannot_evict(workload: Workload, program: str) -> Problem | None:
    """A problem when the workload wants a cold load of a tool that cannot prove one."""
    if workload.page_cache == "keep":
        return None
    return Problem(
        ErrorClass.WORKLOAD_UNSUPPORTED,
        f"{program} cannot take the model out of the page cache before it loads it (page_cache: evict)",
        "take a build with farm-runner (farm runners build), or remove page_cache from the workload",
    )


def _backend_refusal(workload: Workload, build: RunnerBuild) -> Problem | None:
    if workload.backend == "cpu":
        if workload.gpu_layers == 0:
            return None
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            f"gpu_layers is {workload.gpu_layers} but the back end is cpu",
            "name the back end (backend: vulkan), or remove gpu_layers",
        )
    names = [file.name.rpartition("/")[2] for file in build.artifact.files]
    plugins = [name for name in names if name.startswith("libggml-") and not name.startswith("libggml-base")]
    if plugins and not any(name.startswith(f"libggml-{workload.backend.lower()}") for name in plugins):
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            f"back end {workload.backend} is not in this build (it has {', '.join(sorted(plugins))})",
            "take a build with this back end",
        )
    return None


def backend_problem(workload: Workload, said: bytes) -> Problem | None:
    """A GPU case whose runner never mentions the back end ran on the CPU: no measurement of what was asked."""
    if workload.backend == "cpu" or workload.backend.lower().encode() in said.lower():
        return None
    return Problem(
        ErrorClass.WORKLOAD_UNSUPPORTED,
        f"the runner did not use back end {workload.backend}",
        "take a build with this back end, for a phone that has its driver",
    )


def shared_args(request: RunRequest) -> list[str]:
    """Arguments that llama-bench and llama-server name alike."""
    workload = request.workload
    words = ["-m", request.model_path, "-t", str(request.threads), "-ngl", str(workload.gpu_layers)]
    if workload.kv_type:
        words += ["-ctk", workload.kv_type.lower(), "-ctv", workload.kv_type.lower()]
    if workload.batch:
        words += ["-b", str(workload.batch)]
    return words


def server_flash_attn(workload: Workload, build: RunnerBuild) -> list[str]:
    """llama-server's flash attention option in the form this build takes."""
    if workload.flash_attn is None:
        return []
    if build.options is None or any(option in build.options for option in _SINCE_FLASH_ATTN_TAKES_A_VALUE):
        return ["-fa", "on" if workload.flash_attn else "off"]
    return ["-fa"] if workload.flash_attn else []


def bench_load_mode(workload: Workload, build: RunnerBuild) -> list[str]:
    """llama-bench's load mode option in the form this build takes."""
    if workload.load_mode is None:
        return []
    if knows(build, "--load-mode"):
        return ["-lm", _LOAD_MODES[workload.load_mode]]
    return ["-mmp", "0" if workload.load_mode == "read" else "1"]


def server_load_mode(workload: Workload, build: RunnerBuild) -> list[str]:
    """llama-server's load mode option in the form this build takes; mapping is what older builds do by themselves."""
    if workload.load_mode is None:
        return []
    if knows(build, "--load-mode"):
        return ["-lm", _LOAD_MODES[workload.load_mode]]
    return {"mmap": [], "read": ["--no-mmap"], "mlock": ["--mlock"]}[workload.load_mode]


def environment(request: RunRequest) -> dict[str, str]:
    """Libraries beside the programs are found, whatever run path the build has; the workload's own variables win."""
    return {"LD_LIBRARY_PATH": request.runner_dir, **request.workload.env}


def program_path(request: RunRequest, build: RunnerBuild, program: str) -> str:
    """The program on the device."""
    return f"{request.runner_dir.rstrip('/')}/{build.programs[program]}"
