"""Variables that the profile gives the job: values that end it before its first step, or that say nothing to it.

Whether Python starts with those of its own, Python is asked.
What torch takes is torch's own word (2.11): TORCH_DISTRIBUTED_DEBUG by `set_debug_level_from_env`, the allocator's
settings by c10/core/AllocatorConfig.h and c10/cuda/CUDAAllocatorConfig.h, which are read when torch is imported or at
the first allocation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names
from automodel_launch.suggest import alike, nearest

_REFERENCE = re.compile(r"\$(\w+|\{\w+\})|^~/|:~/")
_LISTS = ("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "PYTHONPATH", "CPATH")
_DEBUG_LEVELS = ("OFF", "INFO", "DETAIL")
_TORCHRUN = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_SWITCHES = (
    *("expandable_segments", "release_lock_on_cudamalloc", "release_lock_on_hipmalloc", "throw_on_cudamalloc_oom"),
    *("pinned_use_cuda_host_register", "pinned_use_hip_host_register", "pinned_use_background_threads"),
    "graph_capture_record_stream_reuse",
)
_SETTINGS = (
    *_SWITCHES,
    *("backend", "max_split_size_mb", "max_non_split_rounding_mb", "garbage_collection_threshold"),
    *("roundup_power2_divisions", "pinned_num_register_threads", "pinned_reserve_segment_size_mb"),
    *("per_process_memory_fraction", "large_segment_size_mb"),
)
_LEAST_SPLIT_MB = 20
_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
# torch's names of logs and artifacts (torch/_logging/_registrations.py, 2.11); names of modules may be given, too.
_LOGS = names("""
    all help annotation aot aot_graphs aot_graphs_effects aot_joint_graph async_compile auto_chunker autograd autotuning
    benchmarking bytecode c10d cache caching compiled_autograd compiled_autograd_verbose compute_dependencies
    cudagraph_static_inputs cudagraphs ddp ddp_graphs distributed dtensor dynamic dynamo export fake_tensor fsdp fusion
    graph graph_breaks graph_code graph_code_verbose graph_region_expansion graph_sizes guards hierarchical_compile
    incremental inductor inductor_metrics ir_post_fusion ir_pre_fusion kernel_code loop_ordering loop_tiling
    node_runtime_estimation not_implemented onnx onnx_diagnostics output_code overlap overlap_scheduling perf_hints
    post_grad_graphs pp pre_grad_graphs recompiles recompiles_verbose schedule side_effects sym_node torch
    trace_bytecode trace_call trace_shape_events trace_source verbose_guards
""")
_SECONDS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")  # huggingface_hub reads them when it is imported
# Python's own at which it may not start, each with a value that it takes; all versions take the same.
_OF_PYTHON = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONMALLOC": "malloc",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONTRACEMALLOC": "1",
    "PYTHONINTMAXSTRDIGITS": "0",
}
_MADE_ERRORS = re.compile(r"error(::(Deprecation)?Warning)?:*")  # with no message and no module named
_ASK_S = 10.0


def not_expanded(plan: Plan) -> Iterator[Finding]:
    """`PATH = "/opt/bin:$PATH"`: no shell reads `env_vars`, so the job would find no command at all."""
    for name in _LISTS:
        value = plan.profile.env_vars.get(name, "")
        found = _REFERENCE.search(value)
        if not found:
            continue
        is_path = name == "PATH"
        message = (
            f"env_vars.{name} = {value!r} ({_source(plan, name)}): env_vars are passed on exactly as written, so"
            f" {found[0].lstrip(':')} would be part of a directory's name"
            f"{', and the job would find no program' if is_path else ''}."
        )
        fix = f'setup_lines = ["export {name}={value}"], where bash reads it'
        yield Finding("error" if is_path else "warning", "bad-variable", message, fix)


def torch(plan: Plan) -> Iterator[Finding]:
    """Values at which torch stops."""
    given = plan.profile.env_vars
    level = given.get("TORCH_DISTRIBUTED_DEBUG", "OFF")
    if level.upper() not in _DEBUG_LEVELS:
        near = nearest(level.upper(), list(_DEBUG_LEVELS)) or _DEBUG_LEVELS[-1]
        yield _bad(plan, "TORCH_DISTRIBUTED_DEBUG", f"torch takes {', '.join(_DEBUG_LEVELS)}", f'"{near}"')
    for name in _ALLOCATOR:
        for why, fix in _allocator(given.get(name, "")):
            yield _bad(plan, name, why, fix)


def python(plan: Plan) -> Iterator[Finding]:
    """Values with which no Python starts, neither a rank's nor torchrun's, or ends as it should."""
    given = plan.profile.env_vars
    for name, right in _OF_PYTHON.items():
        value = given.get(name)
        why = _not_started(name, value) if value is not None else None
        if why:
            yield _bad(plan, name, f"no Python starts with it ({why})", f'"{right}"')
    folder = given.get("PYTHONPLATLIBDIR", "")
    if folder not in ("", "lib", "lib64") and _not_started("PYTHONPLATLIBDIR", folder):  # either one, elsewhere
        yield _bad(
            plan, "PYTHONPLATLIBDIR", "no Python starts with it, as it finds none of its own modules there", None
        )
    home = given.get("PYTHONHOME", "")
    if home and plan.here and not plan.image and not os.path.isdir(home.partition(":")[0]):  # noqa: PTH112
        yield _bad(plan, "PYTHONHOME", "there is no such directory, and no Python starts without it", None)
    if given.get("PYTHONINSPECT"):
        why = "Python goes on to its prompt after the script, and fails there when all is done"
        yield _bad(plan, "PYTHONINSPECT", why, None)


def of_imports(plan: Plan) -> Iterator[Finding]:
    """With which torch or transformers cannot be imported, as every framework does."""
    given = plan.profile.env_vars
    if not backends.of(plan.recipe).framework:
        return  # it may import neither
    if _MADE_ERRORS.fullmatch(given.get("PYTHONWARNINGS", "").strip()):
        why = "torch warns of a deprecated name as it is imported, and this makes it an error"
        yield _bad(plan, "PYTHONWARNINGS", why, '"default"')
    level = given.get("PYTHONOPTIMIZE", "")
    if level.isdigit() and int(level) > 1:
        why = "from 2 on Python leaves docstrings out, which transformers reads as it is imported"
        yield _bad(plan, "PYTHONOPTIMIZE", why, '"1"')


def libraries(plan: Plan) -> Iterator[Finding]:
    """Values at which torchrun, or a library that trainings import, ends at once."""
    given = plan.profile.env_vars
    level = given.get("LOGLEVEL")
    if level is not None and plan.recipe.launch == "torchrun" and level not in (*_LEVELS, "FATAL", "WARN", "NOTSET"):
        near = nearest(level.upper(), list(_LEVELS)) or "INFO"
        yield _bad(plan, "LOGLEVEL", f"torchrun takes {', '.join(_LEVELS)}, in capitals", f'"{near}"')
    for word in (part.strip().lstrip("+-") for part in given.get("TORCH_LOGS", "").split(",")):
        meant = nearest(word, sorted(_LOGS)) if word.isidentifier() and word not in _LOGS else None
        if meant and alike(word, meant):
            right = given["TORCH_LOGS"].replace(word, meant)
            yield _bad(plan, "TORCH_LOGS", f"torch has no log {word!r}, and is not imported then", f'"{right}"')
    for name in _SECONDS:
        value = given.get(name, "0")
        if not re.fullmatch(r"\s*[+-]?\d+(_\d+)*\s*", value):
            yield _bad(plan, name, "huggingface_hub takes a whole number of seconds", '"60"')


def _not_started(name: str, value: str) -> str | None:
    """What this Python says of the value, or None."""
    command = [sys.executable, "-S", "-c", ""]
    try:
        done = subprocess.run(
            command, env={**os.environ, name: value}, capture_output=True, text=True, errors="replace", timeout=_ASK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = re.search(r"^Fatal Python error: (?:\w+: )?(.+)", done.stderr, re.M)
    return said[1] if done.returncode and said else None


def _allocator(text: str) -> Iterator[tuple[str, str]]:
    """Why torch's allocator would refuse its settings, and what mends it; the first reason."""
    for entry in filter(None, re.split(r",(?![^\[]*\])", text.replace(" ", ""))):
        name, colon, value = entry.partition(":")
        if not colon:
            yield f"{entry!r} is no setting: they are NAME:VALUE, joined by commas", f'"{name}:..."'
        elif name in _SWITCHES and value not in ("True", "False"):
            right = value.capitalize() if value.capitalize() in ("True", "False") else "True"
            yield f"{name} takes True or False", f'"{text.replace(entry, f"{name}:{right}")}"'
        elif name == "max_split_size_mb" and value.isdigit() and int(value) <= _LEAST_SPLIT_MB:
            yield f"{name} is above {_LEAST_SPLIT_MB}", f'"{text.replace(entry, f"{name}:128")}"'
        elif name not in _SETTINGS and (near := nearest(name, list(_SETTINGS))):
            yield f"torch has no setting {name!r}", f'"{text.replace(entry, f"{near}:{value}")}"'
        else:
            continue
        return


def of_torchrun(plan: Plan) -> Iterator[Finding]:
    """torchrun gives each rank its own."""
    names = [name for name in _TORCHRUN if name in plan.profile.env_vars]
    if names and plan.recipe.launch == "torchrun":
        message = f"env_vars: {', '.join(names)} ({_source(plan, names[0])}) have no effect: torchrun sets them anew."
        yield Finding("warning", "no-effect", message, "nodes and nproc_per_node say how many ranks there are")


def _bad(plan: Plan, name: str, why: str, right: str | None) -> Finding:
    value = plan.profile.env_vars[name]
    message = f"env_vars.{name} = {value!r} ({_source(plan, name)}): {why}; the job would stop at it."
    return Finding("error", "bad-variable", message, f"env_vars.{name} = {right}" if right else "take it out")


def _source(plan: Plan, name: str) -> str:
    return str(plan.profile_sources.get(f"env_vars.{name}", plan.profile_name))


CHECKS = (not_expanded, python, of_imports, torch, libraries, of_torchrun)
