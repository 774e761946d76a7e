"""From a command line to its command. `main` is the only place that prints an error and chooses an exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence

from automodel_launch import __version__
from automodel_launch.commands import console, registry
from automodel_launch.commands.command import COMMON, Parser, get
from automodel_launch.errors import LaunchError, RecipeError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code of docs/cli.md."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console.prepare()
    try:
        return _dispatch(arguments)
    except LaunchError as error:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__.removesuffix("Error")).lower()
        return _fail(arguments, error.message, error.hint, error.exit_code, kind)
    except KeyboardInterrupt:
        return _fail(arguments, "interrupted", None, 130, "interrupted", heading="")
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        console.hang_up()
        return 129


def _fail(argv: list[str], message: str, hint: str | None, exit_code: int, kind: str, heading: str = "error: ") -> int:
    """Words on stderr; with --json a document on stdout as well, on one line, as `logs --follow` writes its own."""
    console.say(f"{heading}{message}")
    if hint:
        console.say(f"hint: {hint}")
    if "--json" in argv:
        error = {"message": message, "hint": hint, "exit_code": exit_code, "kind": kind}
        console.document({"error": error}, indent=None)
    return exit_code


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"] and argv[1:]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        parser = Parser("launch.py", COMMON, registry.USAGE, registry.EPILOG, registry.ABOUT)
        parser.print_help(sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        console.out(__version__)
        return 0
    name, rest = argv[0], argv[1:]
    if name.startswith("-"):
        from automodel_launch.commands import hints

        raise UsageError(f"a recipe or a command comes first, not {name}.", hints.first_word(argv))
    return _run(name, rest) if name in registry.COMMANDS else _recipe(name, rest)


def _run(name: str, argv: list[str]) -> int:
    command = get(name)
    return command.run(command.parse(argv))


def _recipe(name: str, argv: list[str]) -> int:
    """`RECIPE WORD ...` is a command of the recipe's own script, where its metadata block names it; else a launch."""
    from automodel_launch.commands import scripts

    try:
        if argv and argv[0].isidentifier() and scripts.has(name, argv[0], also=registry.COMMANDS):
            return scripts.command(name, argv)
        return _run("launch", [name, *argv])
    except RecipeError as error:
        from automodel_launch.commands import hints

        error.hint = hints.command(name, argv) or error.hint
        raise
