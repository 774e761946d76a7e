"""From a command line to its command. `main` is the only place that prints an error and chooses an exit code."""

from __future__ import annotations

import contextlib
import errno
import gc
import re
import sys
from collections.abc import Sequence

from automodel_launch import __version__, workspace
from automodel_launch.commands import console, registry
from automodel_launch.commands.command import COMMON, Parser, get
from automodel_launch.errors import ClusterError, LaunchError, OutputError, RecipeError, UsageError
from automodel_launch.profile import hidden

_GC_AFTER = 20_000  # new objects, a few MB: with Python's 700 a dry run, mostly imports, looks for garbage 126 times


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code of docs/cli.md."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(_GC_AFTER, *gc.get_threshold()[1:])
    console.prepare()
    try:
        moved = workspace.leave_removed_directory()
        if moved:
            console.say(f"the current directory was removed; paths count from {moved}")
        code = _dispatch(arguments)
        console.flush()
        return code
    except LaunchError as error:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__.removesuffix("Error")).lower()
        return _fail(arguments, error.message, error.hint, error.exit_code, kind)
    except KeyboardInterrupt:
        return _fail(arguments, "interrupted", None, 130, "interrupted", heading="")
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        sys.stderr.close()
        return 141
    except UnicodeError:  # bytes of a word or a name that are no text
        return _fail(arguments, "a value or a name holds characters that are not UTF-8.", "write it anew", 2, "usage")
    except RuntimeError as error:
        if "home directory" not in str(error):  # pathlib's word for `~NAME`
            raise
        message = "a path begins with `~NAME`, and this machine knows no such user."
        return _fail(arguments, message, "the path from / on, or ~/ for your own home", 2, "usage")
    except OSError as error:  # that nobody has foreseen: a full disk, a file system that has become read-only
        if error.errno == errno.EIO and error.filename is None:  # the terminal is gone
            console.hang_up()
            return 129
        return _system_error(arguments, error)


# What a person can mend in the command or the file; the rest (no space, EIO) is the machine's.
_OWN = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST}
_HINTS = {
    errno.ENOSPC: "make room there, then try again",
    errno.EDQUOT: "the quota of this user or group is used up: make room, then try again",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "check its permissions",
    errno.EIO: "the disk or the network file system fails; its administrators' log says more",
    errno.ESTALE: "the network file system was mounted again; change to the folder again",
}


def _system_error(argv: list[str], error: OSError) -> int:
    """One line with the path; a terminal that has gone away takes no line, and hides no exit code."""
    paths = " -> ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
    reason = error.strerror or str(error) or type(error).__name__
    code = LaunchError.exit_code if error.errno in _OWN else ClusterError.exit_code
    with contextlib.suppress(OSError):
        _fail(argv, f"{paths}: {reason}" if paths else reason, _HINTS.get(error.errno or 0), code, "system")
    return code


def _fail(argv: list[str], message: str, hint: str | None, exit_code: int, kind: str, heading: str = "error: ") -> int:
    """Words on stderr; with --json a document on stdout as well, on one line, as `logs --follow` writes its own."""
    shown, hint = hidden.message(message, hint)  # the line that was typed, say
    message, hint = console.told(shown or ""), console.told(hint) if hint else hint
    console.say(f"{heading}{message}")
    if hint:
        console.say(f"hint: {hint}")
    if "--json" in argv[: argv.index("--") if "--" in argv else None]:  # behind it stands a command of somebody's own
        error = {"message": message, "hint": hint, "exit_code": exit_code, "kind": kind}
        with contextlib.suppress(OutputError):
            console.document({"error": error}, indent=None)
    return exit_code


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"] and argv[1:]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        parser = Parser("launch.py", COMMON, registry.USAGE, registry.EPILOG, registry.about())
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
        if argv and argv[0].replace("-", "_").isidentifier() and scripts.has(name, argv[0], also=registry.COMMANDS):
            return scripts.command(name, argv)
        return _run("launch", [name, *argv])
    except RecipeError as error:
        from automodel_launch.commands import hints

        error.hint = hints.command(name, argv) or error.hint
        raise
