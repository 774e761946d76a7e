"""`profiles [PROFILE]`: the tables of env.toml, or one of them with the source of each value."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Parser
from automodel_launch.profile import hidden, profiles

_BRIEF = ("host", "account", "partition", "nodes", "gpus_per_node", "nproc_per_node", "time", "container_image")


class Profiles(Command):
    """A line a profile; or one profile, a line a value."""

    name = "profiles"

    def register(self, parser: Parser) -> None:
        """PROFILE."""
        parser.add_argument("profile", metavar="PROFILE", nargs="?", help="default: a line for each")

    def run(self, args: argparse.Namespace) -> int:
        """Print them."""
        env_file = profiles.load(workspace.find(args.env).env_file, args.profile)
        if args.profile:
            values, sources = profiles.merge(env_file.layers(args.profile))
            values = hidden.value("", values)
            if args.json:
                console.document({"name": args.profile, "values": values, "sources": sources})
            else:
                told = [(f"{key} = {value!r}", f"# {sources[key]}") for key, value in leaves(values, sources)]
                console.out("\n".join(console.table(told)))
            return 0
        rows, usable = [], env_file.usable
        for name in env_file.names:  # what is in a table for another executor is not known, and may be a secret
            values = profiles.merge(env_file.layers(name))[0] if name in usable else {}
            rows.append({"name": name, "executor": env_file.executor(name), "values": hidden.value("", values)})
        if args.json:
            console.document(rows)
        else:
            console.out("\n".join(_line(row, row["name"] in usable) for row in rows))
        return 0


def leaves(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """(key, value) with a source of its own: of a table that several tables of env.toml fill, each entry."""
    for key, value in values.items():
        if key in sources:
            yield key, value
        else:
            yield from ((f"{key}.{name}", entry) for name, entry in value.items())


def _line(row: Mapping[str, Any], usable: bool) -> str:
    told = _brief(row["values"]) if usable else "(not one of this launcher's executors)"
    return f"{row['name']:<20} {row['executor']:<8} {told}"


def _brief(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{key}={values[key]}" for key in _BRIEF if key in values)


COMMAND = Profiles()
