"""`configs [RECIPE]`: what -c takes, for one recipe or for all."""

from __future__ import annotations

import argparse

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
        rows = [row for recipe in found for row in _rows(recipe)]
        if args.json:
            console.document(rows)
        elif args.recipe:
            console.out("\n".join(f"{row['name']:<14} {row['docs']}" for row in rows))
        elif rows:
            console.out("\n".join(console.table([(row["recipe"], row["name"], row["docs"]) for row in rows])))
        return 0


def _rows(recipe: Recipe) -> list[dict[str, str]]:
    from automodel_launch.config import files

    paths = [recipe.config_dir / f"{name}.yaml" for name in files.available(recipe)]
    return [
        {
            "recipe": recipe.name,
            "name": path.stem,
            "path": str(path),
            "docs": _first_comment(path.read_text(encoding="utf-8")),
        }
        for path in paths
    ]


def _first_comment(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("# "):
            return line[2:].strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


COMMAND = Configs()
