"""Plan + findings -> terminal or JSON. It decides nothing; preview_*.py have its sections."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from automodel_launch.commands import console

if TYPE_CHECKING:
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan

SHORT = 30  # lines of a script that is shown whole
_LABEL = 8


@dataclass(frozen=True)
class View:
    """How a plan is shown: `full` is everything, to the byte; else one screen."""

    offline: bool = False
    full: bool = False
    colour: bool = False
    removed: tuple[str, ...] = ()  # keys that ~key has taken out: nothing of them is left in the plan
    rehearsed: bool = True  # or not wanted: no word about it


def document(plan: Plan, findings: Iterable[Finding]) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    return {**plan.document(), "findings": [finding_document(finding) for finding in findings]}


def findings_text(findings: Iterable[Finding], to: IO[str] | None = None, whose: str = "") -> str:
    """A finding a line, its fix below it; on a terminal in lines of its width.

    `to`: where it will be written, standard error unless it is given; `whose` stands before each finding.
    """
    to, deep, lines = to or sys.stderr, "  " if whose else "", []
    for finding in findings:
        text = f"[{finding.code}] {finding.message}"
        lines += console.hanging(f"{whose}{finding.level}: ", text, to, f"{deep}  ")
        if finding.fix:
            lines += console.hanging(f"{deep}  fix: ", finding.fix, to)
    return "\n".join(lines)


def finding_document(finding: Finding) -> dict[str, Any]:
    """One finding for JSON, in the words that a terminal shows."""
    return {key: console.told(value) if isinstance(value, str) else value for key, value in finding.document().items()}


def show(plan: Plan, findings: list[Finding], view: View | None = None) -> None:
    """Print the plan: what and where, what is wrong, what was changed, where it writes, how it starts; the script."""
    from automodel_launch.commands import preview_changes, preview_full, preview_start, preview_summary

    view = view or View()
    _print(preview_summary.lines(plan, view.offline), view)
    if not view.rehearsed:
        _print(preview_summary.rehearsal(plan), view)
    for line in _findings(findings, view):
        console.write(f"{line}\n")
    _print(preview_changes.lines(plan, view.removed, None if view.full else 8), view)
    _print(preview_start.lines(plan, view.full), view)
    if view.full:
        _print(preview_full.lines(plan), view)
    else:
        _print(preview_full.brief(plan), view)
    for line in _script(plan, view):
        console.write(f"{line}\n")
    console.exact(plan.script if view.full else excerpt(plan))


def _print(rows: Iterable[tuple[str, str]], view: View) -> None:
    """(label, text): a heading has no text; the label `*` marks a row, and `-` is one without a label."""
    for label, text in rows:
        if not text:
            console.write(f"{console.painted(console.harmless(label), 'heading', view.colour)}\n")
            continue
        bare = label in ("*", "-")
        first = f"  {label.replace('-', ' ')} " if bare else f"  {label:<{_LABEL}} "
        lines = console.wrapped(text, " " * len(first), first=first)
        if label == "*":
            lines[0] = lines[0].replace("*", console.painted("*", "mark", view.colour), 1)
        console.write("".join(f"{line}\n" for line in lines))


def _findings(findings: list[Finding], view: View) -> Iterator[str]:
    """Errors first; notes are cut to a line each, unless everything is wanted."""
    counts = {level: [f.code for f in findings if f.level == level] for level in ("error", "warning", "note")}
    told = ", ".join(console.many(len(codes), level) for level, codes in counts.items() if codes)
    heading = told or "nothing is wrong with it"
    if counts["error"]:
        heading += f": it would not be submitted ({console.listed(dict.fromkeys(counts['error']))})"
    yield from (console.painted(line, "heading", view.colour) for line in console.wrapped(heading, "  "))
    for finding in findings:
        text = f"[{finding.code}] {finding.message}"
        first = f"  {finding.level}: "
        if finding.level == "note" and not view.full:
            lines = [console.cut(first + text, console.width() - 2)]
            lines = [f"  {lines[0]}"]
        else:
            lines = console.wrapped(text, "    ", first=first)
            lines += console.wrapped(finding.fix, "         ", first="    fix: ") if finding.fix else []
        lines[0] = lines[0].replace(finding.level, console.painted(finding.level, finding.level, view.colour), 1)
        yield from lines


def _script(plan: Plan, view: View) -> Iterator[str]:
    count, digest = len(plan.script.splitlines()), hashlib.sha256(plan.script.encode("utf-8", "surrogateescape"))
    whole = view.full or count <= SHORT
    how = "as it is" if whole else "its directives and our own commands; complete: --full"
    heading = f"script: {console.many(count, 'line')}, sha256 {digest.hexdigest()[:12]}, {how}"
    yield from (console.painted(line, "heading", view.colour) for line in console.wrapped(heading, "  "))


def excerpt(plan: Plan) -> str:
    """The script's lines that this plan has put into it, each as it is: directives, and what names the job's directory.

    The others are NeMo-Run's, and the same in every script.
    """
    lines = plan.script.splitlines()
    if len(lines) <= SHORT:
        return plan.script
    ours = (line for line in lines if plan.job_dir in line and not line.startswith("#"))
    return "\n".join([*(line for line in lines if line.startswith("#SBATCH")), *ours])
