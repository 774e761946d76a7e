"""`configs [RECIPE]`: what -c takes, for one recipe or for all."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Parser
from automodel_launch.plan import recipes
from automodel_launch.plan.recipes import Recipe


class Configs(Command):
    """A line a config: name and its first comment."""

    name = "configs"

    def register(self, parser: Parser) -> None:
        """RECIPE."""
        parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="default: all recipes")

    def run(self, args: argparse.Namespace) -> int:
        """Print them; of several recipes with the recipe's name before each."""
        here = workspace.find(args.env)
        found = [recipes.find(here, args.recipe)] if args.recipe else recipes.available(here)
        rows = [row for recipe in found for row in _rows(recipe, estimate=args.recipe is not None)]
        if args.json:
            console.document(rows)
        elif args.recipe and any("estimate" in row for row in rows):
            console.out("\n".join(line for row in rows for line in _with_estimate(row)))
            console.say("sizes and GPU-hours are estimates; a dry run makes them for the profile's own GPU")
        elif args.recipe:
            width = max((len(row["name"]) for row in rows), default=0)
            lines = (console.hanging(f"{row['name']:<{width}}  ", row["docs"]) for row in rows)
            console.out("\n".join(line for each in lines for line in each))
        elif rows:
            table = console.table([(row["recipe"], row["name"], row["docs"]) for row in rows])
            console.out("\n".join(console.cut_line(line, console.width()) for line in table))
        return 0


def _rows(recipe: Recipe, estimate: bool) -> list[dict[str, Any]]:
    from automodel_launch.config import files

    paths = [recipe.config_dir / f"{name}.yaml" for name in files.available(recipe)]
    return [
        {
            **_estimate(recipe, path.stem, estimate),
            "recipe": recipe.name,
            "name": path.stem,
            "path": str(path),
            "docs": _first_comment(path.read_text(encoding="utf-8")),
        }
        for path in paths
    ]


def _estimate(recipe: Recipe, name: str, wanted: bool) -> dict[str, Any]:
    """Of a recipe whose backend has sizes; nothing where these are not known."""
    from automodel_launch.launch import estimates

    known = estimates.of(recipe, name) if wanted and recipe.backend else None
    return {"estimate": asdict(known)} if known else {}


def _with_estimate(row: dict[str, Any]) -> Iterator[str]:
    yield from console.hanging(f"{row['name']:<25} ", row["docs"])
    told = row.get("estimate")
    if told:
        hardware = f"{told['nodes']} x {told['gpus_per_node']} {told['gpu']}"
        parts = [f"{console.count(told['parameters'])} parameters", hardware]
        parts += [f"{told['memory'] / 2**30:.0f} GiB a GPU"] if told["memory"] else []
        parts += [f"{float(format(told['gpu_hours'], '.2g')):,g} GPU-hours"] if told["gpu_hours"] else []
        yield from console.hanging(f"{'':<25} ", ", ".join(parts))
        tokens = f"{console.count(told['tokens'])} tokens, " if told["tokens"] else ""
        yield f"{'':<25} {tokens}{console.count(told['tokens_per_step'])} a step"


def _first_comment(text: str) -> str:
    """The first sentence of a config's first comment, as far as a semicolon, without its full stop."""
    found: list[str] = []
    for line in text.splitlines():
        comment = line[2:].strip() if line.startswith("# ") else ""
        if found and not re.match("[a-z(]", comment):  # a line of its own
            break
        found += [comment] if comment else []
        if line.strip() and not line.startswith("#"):
            break
    return re.split(r"[.;] |\.$", " ".join(found), maxsplit=1)[0]


COMMAND = Configs()
