"""`recipes [RECIPE]`: what can be run; of one recipe, the trainings that its framework brings along under names."""

from __future__ import annotations

import argparse

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Parser
from automodel_launch.plan import recipes


class Recipes(Command):
    """A line a recipe: name and what it does; or a line a name, after its family."""

    name = "recipes"

    def register(self, parser: Parser) -> None:
        """RECIPE."""
        about = "the names that its framework brings along, by family"
        parser.add_argument("recipe", metavar="RECIPE", nargs="?", help=about)

    def run(self, args: argparse.Namespace) -> int:
        """Print them."""
        here = workspace.find(args.env)
        if args.recipe:
            return _names(recipes.find(here, args.recipe), args.json)
        found = recipes.available(here)
        if args.json:
            console.document([{"name": r.name, "docs": r.docs, "path": str(r.path), "launch": r.launch} for r in found])
        else:
            width = max((len(recipe.name) for recipe in found), default=0)
            lines = (console.hanging(f"{recipe.name:<{width}}  ", recipe.docs) for recipe in found)
            console.out("\n".join(line for each in lines for line in each))
        return 0


def _names(recipe: recipes.Recipe, as_json: bool) -> int:
    from automodel_launch import backends

    backend = backends.of(recipe)
    presets = backend.presets()
    if as_json:
        console.document({family: list(names) for family, names in presets.items()})
    elif presets:
        console.out("\n".join(console.table([(family, name) for family, names in presets.items() for name in names])))
        if backend.framework:
            console.say(f"of {backend.framework.title} {backend.framework.version}; --recipe NAME takes one")
    else:
        console.say(f"{recipe.name} has no names to choose from; `launch.py configs {recipe.name}` lists its configs")
    return 0


COMMAND = Recipes()
