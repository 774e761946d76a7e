"""The variables of the worker and of its children: nothing of a secret, nothing that leads out of the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STAND_IN = "stand-in-of-a-rehearsal"
"""In place of a secret, and of a variable that only the job has."""

_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "SSL_CERT_FILE", "TZ"),
)
_FIXED = {
    **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "OMP_NUM_THREADS"), "1"),
    **{"MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    **{"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void", "WANDB_MODE": "disabled"},
    **{"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "PYTHONUNBUFFERED": "1"},
}
_REFERENCE = re.compile(r"\$\{(?:oc\.env:)?\s*([A-Za-z_]\w*)\s*(,[^}]*)?\}|\$([A-Za-z_]\w*)")  # as AutoModel reads them


def of_worker(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """A worker's environment: a few variables that Python itself needs, and what keeps libraries at home."""
    kept = {name: environ[name] for name in _KEPT if name in environ}
    inside = {
        name: str(scratch / folder)
        for name, folder in {
            **{"TMPDIR": "tmp", "HF_MODULES_CACHE": "modules", "HF_DATASETS_CACHE": "datasets"},
            **{"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "TORCH_EXTENSIONS_DIR": "torch"},
            **{"MPLCONFIGDIR": "matplotlib", "WANDB_DIR": "wandb", "NUMBA_CACHE_DIR": "numba"},
        }.items()
    }
    return {**kept, **_FIXED, **inside}


def of_rank(rank: int, world_size: int, per_node: int) -> dict[str, str]:
    """What torchrun sets for a rank."""
    local = {"LOCAL_RANK": rank % per_node, "LOCAL_WORLD_SIZE": min(world_size, per_node)}
    numbers = {"RANK": rank, "WORLD_SIZE": world_size, **local, "GROUP_RANK": rank // per_node}
    return {name: str(number) for name, number in numbers.items()}


def take(scratch: Path, variables: Mapping[str, str]) -> None:
    """Give this process, a child of the worker, its environment."""
    for name in ("tmp", "datasets", "modules"):
        (scratch / name).mkdir(exist_ok=True)
    os.environ.update(variables)


def unknown_variables(config: Any, known: Mapping[str, str]) -> set[str]:
    """The variables that a configuration refers to, without a default, and that are not among `known`."""
    found = set()
    for text in strings(config):
        for braced, default, bare in _REFERENCE.findall(text):
            name = braced or bare
            if name and not default and name not in known:
                found.add(name)
    return found


def strings(value: Any) -> Iterator[str]:
    """All strings in a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
