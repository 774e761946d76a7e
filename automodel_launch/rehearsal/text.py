"""A rehearsal's answer -> findings, in words for a person who is tired."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.plan import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import hidden
from automodel_launch.rehearsal.result import Partial, Refusal, Result
from automodel_launch.remote import gpu_models
from automodel_launch.remote.gpu_models import GIB

_PACKAGES = re.compile(r"^.*/(?:site|dist)-packages/")
_OWN = re.compile(r"^.*/launch-rehearsal-[0-9a-f]+/(?:code/)?")
_LONGEST = 600  # characters of an exception's text
_STAGES = {  # of recipes/rehearse_lib/stages.py
    "config": "when {title} reads its config",
    "recipe": "when {title} makes its recipe",
    "setup": "in {title}'s set-up, before the first step",
    "data": "when {title} reads its first batch",
    "step": "in the first training step",
    "schedule": "when the schedule of the learning rate goes on",
    "validation": "in the first validation",
}
_SKIP = "--no-rehearse submits without asking"


def findings(plan: Plan, title: str, found: Result, where: str) -> Iterator[Finding]:
    """`title`: whose set-up it was; `where`: "on this machine"."""
    if found.refusal:
        yield _refused(plan, title, found.refusal, where)
    yield from _memory(plan, found, where)
    if found.outcome == "passed":
        notes = "".join(f"; {_partial(entry)}" for entry in found.partial)
        message = (
            f"{title}'s own set-up and one training step of this plan went well {where}{_size(plan, found)}{notes}."
        )
        yield Finding("note", "rehearsal", _clean(message))
    elif found.partial:
        told = "; ".join(_partial(entry) for entry in found.partial)
        head = {
            "not-rehearsed": f"not rehearsed {where}",
            "partial": f"rehearsed in part {where}{_size(plan, found)}, nothing was refused; what could not be tried",
            "refused": "what else could not be tried",
        }[found.outcome]
        yield Finding("note", "rehearsal-partial", _clean(f"{head}: {told}."))
    elif found.outcome != "refused":
        yield Finding("note", "rehearsal-partial", f"{where}: no reason is given.")


def _memory(plan: Plan, found: Result, where: str) -> Iterator[Finding]:
    """The bytes of the step at its peak, where they were asked for, beside the formula's and the GPU's."""
    if not found.memory:
        return
    sizes = backends.of(plan.recipe).sizes(plan, with_data=False)
    fullest = max(found.memory, key=lambda rank: found.memory[rank]["peak"])
    for rank, parts in found.memory.items():
        told = ", ".join(f"{part} {size / GIB:,.2f}" for part, size in parts.items() if part != "peak")
        message = f"rank {rank} holds {parts['peak'] / GIB:,.2f} GiB at its peak: {told} GiB, by the operations of the"
        message += f" step itself, rehearsed {where}; CUDA's own memory, NCCL's and kernels' workspaces come on top."
        if rank != fullest:
            yield Finding("note", "rehearsal", message)
            continue
        if sizes.memory:
            off = 100 * (sizes.memory / parts["peak"] - 1)
            message += f" The formula (docs/memory.md) says {sizes.memory / GIB:,.2f} GiB, {off:+.0f} %: believe the"
            message += f" rehearsal{f'; {sizes.memory_caveat}' if sizes.memory_caveat else ''}."
        yield _against_the_gpu(plan, message, parts["peak"])


def _against_the_gpu(plan: Plan, message: str, peak: float) -> Finding:
    """A warning where the GPU that the profile names is too small."""
    capacity = gpu_models.memory(plan.profile.gpu) if plan.profile.gpu else None
    if capacity is None or peak + gpu_models.RUNTIME <= gpu_models.USABLE * capacity * GIB:
        return Finding("note", "rehearsal", message)
    message += f" gpu = {plan.profile.gpu!r} has {capacity} GiB: with {gpu_models.RUNTIME / GIB:g} for CUDA and NCCL"
    message += " the step does not fit."
    return Finding("warning", "rehearsal", message, "the finding `memory` has settings that need less")


def not_made(reason: str, where: str = "", fix: str | None = None) -> Finding:
    """Nothing was tried, or nothing was answered; the launch goes on."""
    return Finding("note", "rehearsal-partial", _clean(f"not rehearsed{where and ' '}{where}: {reason}."), fix)


def _refused(plan: Plan, title: str, refusal: Refusal, where: str) -> Finding:
    head = f"{_key(plan, refusal)}: " if refusal.key else ""
    rank = f", on rank {refusal.rank} of {plan.world_size}" if refusal.rank else ""
    at = f"{_shown(refusal.file)}:{refusal.line}" if refusal.file and refusal.line else ""
    source = f"`{refusal.source.strip()}`" if refusal.source else ""
    said = f"{refusal.type}: {refusal.text[:_LONGEST].strip()}" if refusal.text.strip() else f"{refusal.type}, no words"
    message = (
        f"{head}the job would fail{rank} {_when(title, refusal.stage)}: {said.rstrip('.')}"
        f" ({', '.join(part for part in (f'at {at}' if at else '', source, f'rehearsed {where}') if part)})."
    )
    return Finding("error", "rehearsal", _clean(message), _fix(plan, refusal))


def _when(title: str, stage: str) -> str:
    return _STAGES.get(stage, "at the stage '{stage}'").format(title=title, stage=stage)


def _key(plan: Plan, refusal: Refusal) -> str:
    """The key, its value and where that was written; of a section, where that begins."""
    key = refusal.key or ""
    if refusal.key_by == "override" and refusal.override:
        return describe.describe(plan, key) if plan.provenance.get(key) else f"override {refusal.override}"
    return describe.describe(plan, key)


def _fix(plan: Plan, refusal: Refusal) -> str:
    if refusal.key_by == "override" and refusal.override:
        return f"another value for {refusal.key}, or none: without {refusal.override} this error is gone; {_SKIP}"
    if refusal.key and refusal.key_by == "removal":
        where = describe.source(plan, refusal.key)
        return f"another value for {refusal.key} ({where}), or none: without it this error is gone; {_SKIP}"
    if refusal.key:
        is_value = refusal.key in plan.provenance
        verb, first = ("correct", "") if is_value else ("look at", " first")
        return f"{verb} {refusal.key}{first} ({describe.source(plan, refusal.key)}); {_SKIP}"
    return f"--dry-run --full shows the whole config; {_SKIP}"


def _size(plan: Plan, found: Result) -> str:
    ranks = ", ".join(map(str, found.ranks)) or "0"
    return f", as rank {ranks} of {plan.world_size}"


def _partial(entry: Partial) -> str:
    return entry.text.strip().rstrip(".") or f"{entry.reason}{f' ({entry.package})' if entry.package else ''}"


def _shown(file: str) -> str:
    """A path as a reader knows it: without the directories of packages, and of the rehearsal itself."""
    return _OWN.sub("", _PACKAGES.sub("", file))


def _clean(text: str) -> str:
    """One line, and nothing in it that looks like a secret."""
    return hidden.message(" ".join(text.split()))[0] or ""
