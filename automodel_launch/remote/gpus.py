"""How many GPUs this machine shows, without importing torch."""

from __future__ import annotations

import os
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
    chosen = []
    for entry in (part.strip() for part in visible.split(",")):
        if not entry or entry == "-1":  # CUDA itself stops reading at an invalid entry
            break
        chosen.append(entry)
    return min(len(chosen), present)


def _device_files() -> int:
    """Inside some virtual machines and containers the driver's list is hidden while the devices are there."""
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())
