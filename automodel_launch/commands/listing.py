"""`recipes`, `configs` and `profiles`: what there is to choose from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from automodel_launch import workspace
from automodel_launch.plan import recipes as recipes_
from automodel_launch.profile import profiles as profiles_


def recipes(args: argparse.Namespace) -> int:
    """A line a recipe: name and what it does."""
    found = recipes_.available(workspace.find(args.env))
    rows = [{"name": r.name, "docs": r.docs, "path": str(r.path), "launch": r.launch} for r in found]
    _print(args, rows, [f"{row['name']:<14} {row['docs']}" for row in rows])
    return 0


def configs(args: argparse.Namespace) -> int:
    """A line a config: name and its first comment."""
    from automodel_launch.config import files

    recipe = recipes_.find(workspace.find(args.env), args.recipe)
    paths = [recipe.config_dir / f"{name}.yaml" for name in files.available(recipe)]
    rows = [{"name": p.stem, "path": str(p), "docs": _first_comment(p.read_text(encoding="utf-8"))} for p in paths]
    _print(args, rows, [f"{row['name']:<14} {row['docs']}" for row in rows])
    return 0


def profiles(args: argparse.Namespace) -> int:
    """A line a profile; or one profile, each value with its source."""
    env_file = profiles_.load(workspace.find(args.env).env_file)
    if args.profile:
        values, sources = profiles_.merge(env_file.layers(args.profile))
        shown = [f"{key} = {value!r}    # {sources.get(key, 'several tables')}" for key, value in values.items()]
        _print(args, {"name": args.profile, "values": values, "sources": sources}, shown)
        return 0
    rows: list[dict[str, Any]] = []
    for name in env_file.names:
        values, _ = profiles_.merge(env_file.layers(name))
        rows.append({"name": name, "executor": values.get("executor", "local"), "values": values})
    _print(args, rows, [f"{row['name']:<20} {row['executor']:<8} {_brief(row['values'])}" for row in rows])
    return 0


def _brief(values: dict[str, Any]) -> str:
    keys = ("host", "account", "partition", "nodes", "gpus_per_node", "nproc_per_node", "time", "container_image")
    return "  ".join(f"{key}={values[key]}" for key in keys if key in values)


def _first_comment(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("# "):
            return line[2:].strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


def _print(args: argparse.Namespace, data: Any, lines: list[str]) -> None:
    print(json.dumps(data, indent=1) if args.json else "\n".join(lines))
