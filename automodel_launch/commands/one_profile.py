"""What the commands about one profile share: the argument PROFILE, and the profile with where its values come from."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automodel_launch import executors, workspace
from automodel_launch.commands.command import Command, Parser
from automodel_launch.errors import UsageError
from automodel_launch.profile import profiles

if TYPE_CHECKING:  # `--help` needs no pydantic
    from automodel_launch.executors import Executor
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


@dataclass(frozen=True)
class Chosen:
    """A profile, merged and checked."""

    name: str
    here: Workspace
    env_file: profiles.EnvFile
    profile: Profile
    sources: dict[str, str]

    @property
    def executor(self) -> Executor:
        """Its executor."""
        return executors.get(self.profile.executor)


class ProfileCommand(Command):
    """A command about one profile."""

    @property
    def usage(self) -> dict[str, str]:
        """PROFILE has to be there."""
        return {"[PROFILE]": "PROFILE"}

    def register(self, parser: Parser) -> None:
        """PROFILE."""
        parser.add_argument("profile", metavar="PROFILE", nargs="?", help="a table of env.toml")

    def choose(self, args: argparse.Namespace) -> Chosen:
        """The profile that was named.

        Raises:
            ProfileError: env.toml or the profile is wrong.
        """
        here = workspace.find(args.env)
        env_file = profiles.load(here.env_file, self.named(args))
        from automodel_launch.profile.settled import settle

        profile, sources = settle(env_file.layers(args.profile), args.profile, os.environ, here.root)
        return Chosen(args.profile, here, env_file, profile, sources)

    def named(self, args: argparse.Namespace) -> str:
        """The profile's name.

        Raises:
            UsageError: none was given.
        """
        if args.profile is None:
            known = ", ".join(profiles.load(workspace.find(args.env).env_file).names)
            raise UsageError(f"{self.name}: which PROFILE?", f"profiles: {known}")
        return str(args.profile)
