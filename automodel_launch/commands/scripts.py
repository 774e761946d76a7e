"""Commands that a recipe's script answers by itself, here and without a job, such as `data-prep inspect PATH`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.errors import ProfileError
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles, references


def has(recipe: str, word: str, also: Iterable[str]) -> bool:
    """The recipe's metadata block names `word` among its commands.

    Raises:
        RecipeError: there is no such recipe; `also` are other names, for suggestions.
    """
    return word in recipes.find(workspace.find(None), recipe, also).commands


def command(recipe: str, argv: list[str]) -> int:
    """Run the script with the python of the profile `local`, as a job here would; its exit code."""
    here = workspace.find(None)
    values, _ = profiles.merge(profiles.load(here.env_file, "local").layers("local"))
    python = references.section({"python": values.get("python")}, "env.toml [local]", os.environ)["python"]
    python = str(python or sys.executable)
    try:
        wanted = subprocess.PIPE if "--json" in argv else None
        command = [python, str(recipes.find(here, recipe).path), *argv]
        done = subprocess.run(command, check=False, stdout=wanted, stderr=wanted, text=True)
    except OSError as error:
        message = f"{python}, the python of the profile 'local' in {here.env_file}, cannot be run: {error.strerror}."
        raise ProfileError(message, "set `python` of the profile to one that has the recipe's libraries") from error
    if wanted is not None:
        _pass_on(done, recipe, argv[0])
    return done.returncode


def _pass_on(done: subprocess.CompletedProcess[str], recipe: str, word: str) -> None:
    """With --json stdout is a document on errors, too."""
    sys.stderr.write(done.stderr)
    if done.returncode and not done.stdout.strip():
        message = done.stderr.strip().removeprefix("error: ") or f"{recipe} {word} failed"
        error = {"message": message, "hint": None, "exit_code": done.returncode, "kind": "script"}
        console.document({"error": error}, indent=None)
    else:
        console.write(done.stdout)
