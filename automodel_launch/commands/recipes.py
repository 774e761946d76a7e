"""`recipes`: what can be run."""

from __future__ import annotations

import argparse

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command
from automodel_launch.plan import recipes


class Recipes(Command):
    """A line a recipe: name and what it does."""

    name = "recipes"

    def run(self, args: argparse.Namespace) -> int:
        """Print them."""
        found = recipes.available(workspace.find(args.env))
        if args.json:
            console.document([{"name": r.name, "docs": r.docs, "path": str(r.path), "launch": r.launch} for r in found])
        else:
            console.out("\n".join(f"{recipe.name:<14} {recipe.docs}" for recipe in found))
        return 0


COMMAND = Recipes()
