"""Amounts of memory as sbatch and Docker take them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault

_VALID = re.compile(r"\d+([KMGT]B?)?", re.IGNORECASE | re.ASCII)
_MEANT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?(?:ytes?)?", re.IGNORECASE)
_DOCKER = re.compile(r"\d+(\.\d*)? ?[kmgtp]?i?b?", re.IGNORECASE)  # docker/go-units, RAMInBytes
_DOCKER_BYTES = re.compile(r"(\d+) ?b?", re.IGNORECASE)
_LEAST = 2**20
_SMALLER = {"K": "", "M": "K", "G": "M", "T": "G"}


def faults(key: str, value: str) -> Iterator[Fault]:
    """What is no amount of memory for sbatch."""
    if _VALID.fullmatch(value):
        return
    why = "no amount of memory; sbatch takes a whole number and K, M, G or T (without one: M)"
    yield Fault(key, value, why, _right(key, value))


def _right(key: str, value: str) -> str:
    meant = _MEANT.fullmatch(value.strip())
    if meant:
        number, unit = float(meant[1]), meant[2].upper()
        if not number.is_integer():
            number, unit = round(number * 1024), _SMALLER[unit]
        return f'{key} = "{int(number)}{unit}"'
    if key == "mem" and value.lower() in ("all", "max", "full", "node"):
        return 'mem = "0" is all memory of a node'
    return f'{key} = "80G"' + ('; "0" is all memory of a node' if key == "mem" else "")


def docker_faults(key: str, value: str) -> Iterator[Fault]:
    """What is no amount of memory for Docker, and one that is in bytes by mistake."""
    if not _DOCKER.fullmatch(value):
        yield Fault(key, value, "no amount of memory; Docker takes a number and b, k, m or g", f'{key} = "16g"')
        return
    in_bytes = _DOCKER_BYTES.fullmatch(value)
    if in_bytes and int(in_bytes[1]) < _LEAST:
        why = f"Docker reads {int(in_bytes[1])} bytes"
        yield Fault(key, value, why, f'{key} = "{int(in_bytes[1])}g"', "warning")
