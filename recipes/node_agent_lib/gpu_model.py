"""Which GPUs this node has, as NVIDIA's driver tells it in files: no command is started, nothing waits for a GPU."""

from __future__ import annotations

import os
import re

from .patterns import pattern

_DRIVER = "/proc/driver/nvidia/gpus"
_MODEL = pattern(r"^Model:\s*(\S.*?)\s*$", re.MULTILINE)
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


def model(folder: str = _DRIVER) -> str | None:
    """`NVIDIA H100 80GB HBM3`; None without GPUs, where they differ, and for a part of one (MIG)."""
    if any("MIG" in os.environ.get(name, "") for name in _VISIBLE):
        return None
    found = set()
    try:
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name, "information"), encoding="utf-8", errors="replace") as file:
                told = _MODEL.search(file.read(4096))
            found.add(told.group(1)[:80] if told else None)
    except OSError:
        return None
    return found.pop() if len(found) == 1 else None
