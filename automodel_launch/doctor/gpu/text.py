"""`doctor --gpu`: a verdict as text: a row a node, what is wrong, and the line for env.toml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automodel_launch.doctor.gpu import node as doctor_node
from automodel_launch.doctor.gpu.node import GIB
from automodel_launch.doctor.gpu.verdict import Node, Verdict

_STYLES = {"ok": "\033[32m", "warn": "\033[33m", "FAIL": "\033[1;31m", "no answer": "\033[1;31m"}
_PLAIN = "\033[0m"
_HEAD = ("node", "state", "GPUs", "ECC", "MHz", "in node", "to others", "free", "clock")
_UNITS = ("", "", "", "", "under load", "GB/s", "GB/s", "GiB", "s")
MOST = 30  # faults that are alike need no more lines


def text(verdict: Verdict, exclude: str | None, profile: str, wanted: int, colour: bool) -> str:
    """The whole answer. `exclude` is the profile's own value; None: this executor has no such key."""
    lines = [*_table(verdict, wanted, colour), "", *_measured(verdict)]
    shown = verdict.faults[:MOST]
    hosts = {node.number: node.host for node in verdict.nodes}
    for fault in shown:
        where = f"{hosts[fault.node]}: " if fault.node is not None else ""
        lines.append(f"{_painted(fault.level, 4, colour)}  {where}{fault.what}: {fault.detail}")
    if len(verdict.faults) > MOST:
        lines.append(f"and {len(verdict.faults) - MOST} more; --json has them all")
    if verdict.well:
        lines.append("all is well" if not verdict.faults else "well enough to train")
    elif verdict.bad and exclude is not None:
        lines.append(f"put into [{profile}] of env.toml:  {exclude_line(exclude, verdict.bad)}")
    return "\n".join(lines)


def exclude_line(present: str, bad: Sequence[str]) -> str:
    """The line for env.toml; what the profile excludes already stays."""
    names = [name for name in present.split(",") if name] if "[" not in present else [present]
    return 'exclude = "{}"'.format(",".join(dict.fromkeys([*names, *bad])))


def _table(verdict: Verdict, wanted: int, colour: bool) -> list[str]:
    rows = [_row(verdict, node, wanted) for node in verdict.nodes]
    widths = [max(map(len, column)) for column in zip(_HEAD, _UNITS, *rows, strict=True)]
    lines = []
    for row in (_HEAD, _UNITS, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[1] = _painted(row[1], widths[1], colour and row[1] in _STYLES)
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(verdict: Verdict, node: Node, wanted: int) -> tuple[str, ...]:
    facts = node.facts or {}
    gpus, loaded = doctor_node.gpus(facts), doctor_node.loaded(facts)
    errors = [gpu["ecc_uncorrected"] for gpu in gpus if gpu.get("ecc_uncorrected") is not None]
    clocks = [gpu["sm_mhz"] for gpu in loaded if gpu.get("sm_mhz")]
    speed, offset = doctor_node.bandwidth(facts), verdict.offsets.get(node.number)
    disks = [entry for entry in facts.get("paths") or [] if entry["write"] and entry["path"] != doctor_node.SMALL]
    free = [entry["free"] for entry in disks if entry["free"] is not None]
    return (
        node.host,
        verdict.state(node),
        (f"{len(gpus)}/{wanted}" if wanted else str(len(gpus))) if facts.get("smi") else "-",
        str(sum(errors)) if errors else "-",
        _range(clocks),
        "-" if speed is None else f"{speed:.1f}",
        _range([pair.gb_s for pair in verdict.pairs if node.number in pair.nodes and pair.gb_s is not None], ".1f"),
        f"{min(free) / GIB:,.0f}" if free else "-",
        "-" if offset is None else f"{offset:+.1f}",
    )


def _range(values: Sequence[float], form: str = ".0f") -> str:
    if not values:
        return "-"
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low}-{high}"


def _measured(verdict: Verdict) -> Iterator[str]:
    """How it was measured, where that says how much the numbers are worth."""
    if verdict.over == "gloo":
        yield "no GPU was used: all-reduce went over gloo on the CPU, which shows who reaches whom; speed is not judged"
    elif verdict.over:
        yield f"all-reduce over {verdict.over}; GB/s are bus bandwidth as nccl-tests has it"
    everyone = sum(1 for node in verdict.nodes if node.finished)
    possible = everyone * (everyone - 1) // 2
    if everyone > 1 and len(verdict.pairs) < possible:
        yield f"{len(verdict.pairs)} of {possible} pairs of nodes were measured: time was over, or a node silent"


def _painted(level: str, width: int, colour: bool) -> str:
    padded = f"{level:<{width}}"
    return f"{_STYLES[level]}{padded}{_PLAIN}" if colour else padded
