"""What each command is: a class with its options and its act; and the parser that reads its line."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from automodel_launch.commands import console, registry
from automodel_launch.errors import UsageError
from automodel_launch.suggest import nearest

# Short options of other programs, which fingers type by themselves.
_ELSEWHERE = {"-f": "--follow", "-r": "--rank", "--all": "--rank all", "--tail": "--follow", "-n": "--name"}


@dataclass(frozen=True)
class Option:
    """An option: a flag, or one with a value, which `metavar` names. At most one of those in a `group` is given."""

    names: tuple[str, ...]
    help: str
    metavar: str | None = None
    default: str | None = None
    group: str = ""
    many: bool = False  # it may be given several times; the values are a list
    bare: str | None = None  # the value where none is given: `--name`, or `--name=METAVAR`


COMMON = (
    Option(("--env",), "another env.toml (default: $LAUNCH_ENV, else the checkout's)", "FILE"),
    Option(("--json",), "one JSON document on stdout and nothing else, for errors too"),
)

VERBOSE = Option(("--verbose",), "every line of rank 0's log, also what is known to be of no interest")


class Command:
    """One command of launch.py; its module in this folder has the same name."""

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()

    def register(self, parser: Parser) -> None:
        """Add the arguments that are no options."""

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Read the command line.

        Raises:
            UsageError: it is not understood.
        """
        return self.parser().parse_args(argv)

    def run(self, args: argparse.Namespace) -> int:
        """Carry it out; the exit code."""
        raise NotImplementedError

    def parser(self) -> Parser:
        """A parser with everything that this command takes."""
        about = "\n".join(console.wrapped(self.about))
        parser = Parser(f"launch.py {self.name}", (*COMMON, *self.options), about=about)
        self.register(parser)
        for theirs, ours in self.usage.items():
            written = parser.format_usage().removeprefix("usage: ").rstrip()
            parser.usage = re.sub(re.escape(theirs).replace(r"\ ", r"\s+"), ours, written).replace("%", "%%")
        return parser

    @property
    def about(self) -> str:
        """What it is for, in a line."""
        return registry.COMMANDS[self.name].about

    @property
    def usage(self) -> dict[str, str]:
        """What stands otherwise in its usage than argparse has it: from, to."""
        return {}

    @property
    def option_names(self) -> list[str]:
        """Its long options."""
        return [name for option in (*COMMON, *self.options) for name in option.names if name.startswith("--")]

    def words(self, argv: list[str]) -> list[str]:
        """The command line as argparse can read it, options and overrides in any order; see overrides.split."""
        from automodel_launch.config.overrides import split

        options = (*COMMON, *self.options)
        with_value = {name for option in options if option.metavar and not option.bare for name in option.names}
        flags = {name for option in options for name in option.names} - with_value | {"-h", "--help"}
        return split(argv, with_value, flags)


def get(name: str) -> Command:
    """The command of that name; its module is imported here."""
    command: Command = importlib.import_module(f"automodel_launch.commands.{name}").COMMAND
    return command


def _given(text: str) -> str:
    """An option's value: `--export "$DIR"` without DIR would else be a launch without --export.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("its value is empty (a variable that is not set?)")
    return text


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting, so that all errors look alike, and knows the names of its options."""

    def __init__(
        self,
        prog: str,
        options: Iterable[Option] = (),
        usage: str | None = None,
        epilog: str | None = None,
        about: str | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            epilog=epilog,
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.names = ["--help"]
        groups: dict[str, Any] = {"": self}
        for option in options:
            self.names += option.names
            group = groups.setdefault(option.group, None) or self.add_mutually_exclusive_group()
            groups[option.group] = group
            how: dict[str, Any] = {"metavar": option.metavar, "default": option.default, "type": _given}
            if option.many:
                how |= {"action": "append"}
            if option.bare:
                how |= {"nargs": "?", "const": option.bare}
            group.add_argument(*option.names, help=option.help, **(how if option.metavar else {"action": "store_true"}))

    def error(self, message: str) -> None:  # type: ignore[override]  # raises like the original exits
        raise UsageError(f"{message.removesuffix(', OVERRIDE')}.", self._hint(message))

    def _hint(self, message: str) -> str:
        words = message.partition("unrecognized arguments: ")[2].split()
        for word in words:
            option = word.partition("=")[0]
            near = _ELSEWHERE.get(option) or (nearest(option, self.names) if option.startswith("--") else None)
            if near and near.split()[0] in self.names:
                return f"{near}? All options: {self.prog} --help"
        return f"{self.prog} --help"
