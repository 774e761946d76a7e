"""How many GPUs this machine shows, without importing torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

CPU_PROCESSES = 2  # without GPUs: enough to be a real distributed run, few enough for a laptop


def count(environ: Mapping[str, str] | None = None, proc: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """GPUs that a training process started here would see: the driver's list, narrowed by CUDA_VISIBLE_DEVICES."""
    environ = os.environ if environ is None else environ
    present = sum(1 for _ in proc.iterdir()) if proc.is_dir() else _device_files()
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return present
    return min(len(shown(visible)), present)


def of_a_node(here: bool, wanted: int | None) -> int | None:
    """GPUs of each node of a job: those of this machine, or what its profile asks for; None: not known."""
    return count() if here else wanted


def shown(value: str) -> list[str]:
    """The GPUs that CUDA shows for a value of CUDA_VISIBLE_DEVICES: none where one stands there twice (on an H100)."""
    names = named(value)
    return names if len(set(names)) == len(names) else []


def named(value: str) -> list[str]:
    """The entries before the first that is no GPU, at which CUDA stops reading: `0-7` is GPU 0, as C reads numbers."""
    names = []
    for word in (part.strip() for part in value.split(",")):
        found = re.match(r"\d+", word) or re.fullmatch(r"(GPU|MIG)-\S+", word)
        if not found:
            break
        names.append(found[0])
    return names


def _device_files() -> int:
    """Inside some virtual machines and containers the driver's list is hidden while the devices are there."""
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())
