"""Plan + findings -> terminal or JSON. It decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from automodel_launch.config.dotted import flatten
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def document(plan: Plan, findings: Iterable[Finding]) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    return {**plan.document(), "findings": [finding.document() for finding in findings]}


def findings_text(findings: Iterable[Finding]) -> str:
    """A finding a line, its fix below it; plain text."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level}: [{finding.code}] {finding.message}")
        if finding.fix:
            lines.append(f"  fix: {finding.fix}")
    return "\n".join(lines)


def show(plan: Plan, findings: list[Finding], colour: bool = True) -> None:
    """Print the plan; the script stands alone at the end, as it is, so that it can be copied."""
    from rich.console import Console
    from rich.text import Text

    console = Console(no_color=not colour, highlight=False, soft_wrap=True)
    for title, rows in _sections(plan):
        console.print(Text(title, style="bold"))
        width = max((len(row[0]) for row in rows), default=0)
        for name, value, *source in rows:
            line = Text(f"  {name:<{width}}  ")
            line.append(value)
            if source and source[0]:
                line.append(f"    # {source[0]}", style="dim")
            console.print(line)
    console.print(Text("script", style="bold"))
    sys.stdout.flush()
    sys.stdout.write(plan.script)  # not through rich, which would wrap it
    sys.stdout.flush()
    console.print(Text("findings", style="bold"))
    for finding in findings:
        text = findings_text([finding])
        console.print(Text(text, style=_STYLES[finding.level]))
    if not findings:
        console.print("  none")
    console.print(Text(f"plan {plan.plan_hash}", style="bold"))


def _sections(plan: Plan) -> list[tuple[str, list[tuple[str, ...]]]]:
    data = plan.document()
    files = data["files"]
    total = sum(file["bytes"] for file in files)
    env = [(name, "secret, by name" if name in data["secrets"] else "") for name in data["env"]]
    sections: list[tuple[str, list[tuple[str, ...]]]] = [
        ("job", _job(plan)),
        (f"profile {plan.profile_name}", _profile(plan)),
        (f"files that travel: {len(files)}, {total:,} bytes", [(f["path"], f"{f['bytes']:>9,}") for f in files]),
        ("mounts", [(mount, "") for mount in data["mounts"]] or [("none", "")]),
        ("environment", [(name, kind) for name, kind in env]),
        ("config", [(key, _value(value), plan.provenance.get(key, "")) for key, value in flatten(plan.config)]),
    ]
    return sections


def _job(plan: Plan) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("id", plan.job_id),
        ("recipe", f"{plan.recipe.name} ({plan.recipe.launch})"),
        ("config", plan.config_name),
        ("executor", plan.executor),
        ("mode", {"run": "attached", "batch": "detached"}[plan.mode]),
        ("size", f"{plan.nodes} x {plan.processes_per_node} = {plan.world_size} processes"),
        ("command", shlex.join(plan.command)),
        ("job directory", plan.job_dir),
        ("run directory", plan.run_dir),
    ]
    image = plan.document()["container_image"]
    return [*rows, ("image", image)] if image else rows


def _profile(plan: Plan) -> list[tuple[str, ...]]:
    values = plan.profile.model_dump(mode="json", exclude_unset=True)
    return [(key, _value(value), plan.profile_sources.get(key, "")) for key, value in values.items()]


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
