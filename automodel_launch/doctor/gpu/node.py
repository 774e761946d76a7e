"""`doctor --gpu`: what is wrong with one node, from what it has written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

GIB = 2**30
FEW_INODES = 1_000
SMALL = "/dev/shm"  # memory: a tenth of the room that disks need
# NVML's reasons by which the hardware or the driver protects a GPU; a power cap and idle clocks are no fault
_PROTECTED = {
    "hw_slowdown": "hardware slowdown",
    "hw_thermal_slowdown": "too hot (hardware)",
    "hw_power_brake_slowdown": "power brake: its supply asks for less",
    "sw_thermal_slowdown": "too hot (driver)",
}
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """Of configs/gpu-check/default.yaml, which describes them."""

    gpus: int
    min_pair_gb_s: float
    min_node_gb_s: float
    min_share: float
    min_clock_share: float
    max_skew_s: float
    min_free_gib: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Limits:
        """From the job's config."""
        return cls(**{limit.name: config[limit.name] for limit in fields(cls)})


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `node` is None where it is of no single node; `shared`: it may be of all alike."""

    node: int | None
    level: Literal["FAIL", "warn"]
    what: str
    detail: str
    shared: bool = False


@dataclass(frozen=True)
class Typical:
    """Medians over all nodes of the job: what is slow is seen against the others. None where nothing was measured."""

    all_reduce: float | None = None  # GB/s among the GPUs of a node
    sm_mhz: float | None = None  # under load
    tflops: float | None = None


def typical(nodes: Iterable[Facts]) -> Typical:
    """Of the nodes that have answered."""
    seen = list(nodes)
    return Typical(
        _median([speed for facts in seen if (speed := bandwidth(facts)) is not None]),
        _median([gpu["sm_mhz"] for facts in seen for gpu in loaded(facts) if gpu.get("sm_mhz")]),
        _median([speed for facts in seen for speed in facts.get("tflops") or [] if speed]),
    )


def bandwidth(facts: Facts) -> float | None:
    """All-reduce among the GPUs of the node, in GB/s."""
    value = (facts.get("all_reduce") or {}).get("gb_s")
    return None if value is None else float(value)


def gpus(facts: Facts) -> list[dict[str, Any]]:
    """The GPUs that nvidia-smi shows."""
    found: list[dict[str, Any]] = (facts.get("smi") or {}).get("gpus") or []
    return found


def loaded(facts: Facts) -> list[dict[str, Any]]:
    """The same, seen while the GPUs were at work; none where they were not."""
    found: list[dict[str, Any]] = (facts.get("loaded") or {}).get("gpus") or []
    return found


def faults(node: int, facts: Facts, limits: Limits, usual: Typical) -> Iterator[Fault]:
    """All that this node is to be told of."""
    yield from _paths(node, facts, limits)
    yield from _count(node, facts, limits)
    for number, gpu in enumerate(gpus(facts)):
        yield from _health(node, f"GPU {number}", gpu)
    off = [str(number) for number, gpu in enumerate(gpus(facts)) if gpu.get("persistence") is False]
    if off:
        detail = (
            f"off on GPU {', '.join(off)}: without any process the driver is unloaded, and loaded again by the next"
        )
        yield Fault(node, "warn", "persistence mode", detail, shared=True)
    yield from _clocks(node, facts, limits, usual)
    yield from _speed(node, facts, limits, usual)


def _paths(node: int, facts: Facts, limits: Limits) -> Iterator[Fault]:
    for entry in facts.get("paths") or []:
        path = entry["path"]
        if entry["error"]:
            yield Fault(node, "FAIL", path, entry["error"], shared=True)
        elif entry["write"]:
            least = limits.min_free_gib / (10 if path == SMALL else 1)
            free = entry["free"]
            if free is not None and free < least * GIB:
                yield Fault(node, "FAIL", path, f"{free / GIB:.1f} GiB free, the limit is {least:g}", shared=True)
            inodes = entry["inodes"]
            if inodes is not None and inodes < FEW_INODES:
                yield Fault(node, "FAIL", path, f"{inodes} free inodes", shared=True)


def _count(node: int, facts: Facts, limits: Limits) -> Iterator[Fault]:
    smi = facts.get("smi")
    if smi is not None:
        if smi["error"]:
            yield Fault(node, "FAIL", "nvidia-smi", smi["error"].removeprefix("nvidia-smi: "))
        elif not smi["found"] and limits.gpus:
            yield Fault(node, "FAIL", "nvidia-smi", f"there is none, and {limits.gpus} GPUs are wanted", shared=True)
        elif smi["found"] and len(smi["gpus"]) < limits.gpus:
            yield Fault(node, "FAIL", "GPUs", f"{len(smi['gpus'])} of {limits.gpus}")
    if facts.get("torch_error"):
        yield Fault(node, "FAIL", "torch", facts["torch_error"], shared=True)
    seen = facts.get("cuda")
    shown = len(gpus(facts))
    if seen is not None and shown and seen < min(shown, limits.gpus or shown):
        version = facts.get("torch")
        detail = f"torch {version} sees {seen} GPUs, nvidia-smi {shown}"
        yield Fault(node, "FAIL", "torch", detail, shared=True)


def _health(node: int, name: str, gpu: Facts) -> Iterator[Fault]:
    name = f"{name} ({gpu['bus']})" if gpu.get("bus") else name
    if gpu.get("ecc_uncorrected"):
        yield Fault(node, "FAIL", name, f"{gpu['ecc_uncorrected']} uncorrected ECC errors since its last reset")
    if gpu.get("sram_threshold"):
        yield Fault(node, "FAIL", name, "its SRAM's errors have passed NVIDIA's threshold for a replacement")
    if gpu.get("pending"):
        yield Fault(node, "FAIL", name, "memory rows or pages wait for a reset to be taken out of use")
    if gpu.get("remap_failure"):
        yield Fault(node, "FAIL", name, "a row of its memory could not be remapped: it needs a replacement")
    if gpu.get("recovery"):
        yield Fault(node, "FAIL", name, f"nvidia-smi asks for: {gpu['recovery']}")


def _clocks(node: int, facts: Facts, limits: Limits, usual: Typical) -> Iterator[Fault]:
    under_load = loaded(facts)
    for number, idle in enumerate(gpus(facts)):
        busy = under_load[number] if number < len(under_load) else {}
        reasons = sorted({*idle.get("reasons", ()), *busy.get("reasons", ())} & set(_PROTECTED))
        for reason in reasons:
            yield Fault(node, "FAIL", f"GPU {number}", f"clocks are held down: {_PROTECTED[reason]}")
        clock, most = busy.get("sm_mhz"), busy.get("max_sm_mhz")
        if clock and usual.sm_mhz and clock < limits.min_clock_share * usual.sm_mhz:
            yield Fault(
                node, "FAIL", f"GPU {number}", f"{clock} MHz under load, the median of all GPUs is {usual.sm_mhz:.0f}"
            )
        elif clock and most and clock * 3 < most and not reasons:
            yield Fault(node, "warn", "clocks", f"GPU {number}: {clock} MHz under load, of {most}", shared=True)
    for number, speed in enumerate(facts.get("tflops") or []):
        if speed and usual.tflops and speed < limits.min_clock_share * usual.tflops:
            detail = f"{speed:.0f} TFLOP/s in matrix products, the median of all GPUs is {usual.tflops:.0f}"
            yield Fault(node, "FAIL", f"GPU {number}", detail)


def _speed(node: int, facts: Facts, limits: Limits, usual: Typical) -> Iterator[Fault]:
    if facts.get("load_error"):
        yield Fault(node, "FAIL", "load", facts["load_error"])
    if (facts.get("all_reduce") or {}).get("error"):
        yield Fault(node, "FAIL", "all-reduce", f"among its own GPUs: {facts['all_reduce']['error']}")
    if facts.get("store_error"):
        yield Fault(node, "FAIL", "network", facts["store_error"])
    speed = bandwidth(facts)
    if speed is None or facts.get("backend") != "nccl":
        return
    if speed < limits.min_node_gb_s:
        detail = f"{speed:.1f} GB/s among its own GPUs, the floor is {limits.min_node_gb_s:g}"
        yield Fault(node, "FAIL", "all-reduce", detail, shared=True)
    elif usual.all_reduce and speed < limits.min_share * usual.all_reduce:
        detail = f"{speed:.1f} GB/s among its own GPUs, the median of all nodes is {usual.all_reduce:.1f}"
        yield Fault(node, "FAIL", "all-reduce", detail)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
