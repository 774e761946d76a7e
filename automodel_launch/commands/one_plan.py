"""From a command line to a plan with its findings, for the commands that make one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from automodel_launch import workspace
from automodel_launch.commands import console, registry
from automodel_launch.commands.command import Command
from automodel_launch.errors import ConfigError, LaunchError, ProfileError, UsageError
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace

if TYPE_CHECKING:  # a wrong profile's name is answered before the modules behind a plan are imported
    from automodel_launch.config.merge import MergedConfig
    from automodel_launch.config.overrides import Override
    from automodel_launch.launch.origin import Origin
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan
    from automodel_launch.plan.recipes import Recipe

_GUESS = re.compile(r" Did you mean '[^']*'\?")


@dataclass(frozen=True)
class Planned:
    """A plan with what was found out about it. `rehearsal`: the answer of one that was made, or is known."""

    here: Workspace
    plan: Plan
    findings: list[Finding]
    theme: str
    rehearsal: Mapping[str, Any] | None = None

    @property
    def errors(self) -> list[Finding]:
        """The findings that refuse it."""
        return [finding for finding in self.findings if finding.level == "error"]


@dataclass(frozen=True)
class Named:
    """What a command line names: a profile, and a recipe."""

    here: Workspace
    profile: str
    env_file: profiles.EnvFile
    recipe: Recipe


def named(args: argparse.Namespace) -> Named:
    """Find them; a word behind the recipe that names its config is taken out of the overrides.

    Raises:
        LaunchError: there is none of that name, with a hint at what was most likely meant.
    """
    from automodel_launch.commands import hints

    here = workspace.find(args.env)
    profile_name = args.run or args.batch or "local"
    try:
        env_file = profiles.load(here.env_file, profile_name)
    except ProfileError as error:
        if error.message.startswith("no profile "):  # else the profile is there, and wrong in another way
            error.hint = hints.profile(profile_name, args.recipe, here) or error.hint
        raise
    recipe = recipes.find(here, args.recipe, also=registry.COMMANDS)
    _take_word(args, recipe)
    return Named(here, profile_name, env_file, recipe)


def planned(command: Command, args: argparse.Namespace) -> Planned:
    """Parts are read in the order in which their errors cost least: env.toml, recipe, config, the plan, its checks.

    Raises:
        LaunchError: one of the parts is wrong, with a hint at what was most likely meant.
    """
    own = named(args)
    here, env_file, recipe = own.here, own.env_file, own.recipe
    from automodel_launch.launch import checking, edges
    from automodel_launch.launch import planning as planning_
    from automodel_launch.plan import plan as planning

    source = begins_from(args, here)
    merged = layered(command, args, recipe, env_file, source)
    mode: planning.Mode = "batch" if args.batch else "run"
    options: dict[str, Any] = {"name": args.name, "fresh": args.fresh, "offline": args.offline}
    after = edges.named(here, args.after, args.offline)
    options |= {"after": after.runs, "promised": after.promised, "begins_from": source}
    plan = planning_.make(here, env_file, own.profile, recipe, merged, mode=mode, **options)
    edges.refuse_detached(plan)
    return Planned(here, plan, checking.run(plan, offline=args.offline), env_file.theme)


def rehearsed(args: argparse.Namespace, parts: Planned, submits: bool = False) -> Planned:
    """The same with what a rehearsal finds, where one is wanted; `submits`: a submission comes next."""
    from automodel_launch.launch import checking

    found = checking.rehearse(parts.plan, parts.findings, parts.here.rehearsals, **how_rehearsed(args, submits))
    findings = checking.in_order([*parts.findings, *found.findings])
    return replace(parts, findings=findings, rehearsal=found.document)


def how_rehearsed(args: argparse.Namespace, submits: bool) -> dict[str, Any]:
    """The arguments of a rehearsal that the command line gives."""
    option = "off" if args.no_rehearse else args.rehearse
    return {"option": option, "submits": submits, "offline": args.offline, "say": console.say}


def begins_from(args: argparse.Namespace, here: Workspace) -> Origin | None:
    """The checkpoint that `--from` names."""
    from automodel_launch.launch import origin

    wanted = getattr(args, "from")
    return origin.find(here, wanted, offline=args.offline) if wanted is not None else None


def layered(
    command: Command,
    args: argparse.Namespace,
    recipe: Recipe,
    env_file: profiles.EnvFile,
    source: Origin | None = None,
) -> MergedConfig:
    """The config, made to begin from `source`, with the command line's overrides; where one is wrong, a guess at it."""
    from automodel_launch.commands import hints
    from automodel_launch.config import configs, unknown

    parsed = overridden(command, args, recipe, env_file)
    unknown.refuse_bare_options(parsed, command.option_names)
    try:
        if source is not None:
            parsed = [*source.overrides(recipe, configs.load(recipe, args.config, ())), *parsed]
        return configs.load(recipe, args.config, parsed, command.option_names)
    except (ConfigError, UsageError) as error:
        meant = hints.key(parsed, recipe, args.config) or hints.config(recipe, args.config)
        if meant:  # a better guess than that of a key with similar letters
            error.message, error.hint = _GUESS.sub("", error.message), meant
        raise


def _take_word(args: argparse.Namespace, recipe: Recipe) -> None:
    """`convert hf-to-megatron`: the config's name, where the recipe says that a word may be one."""
    from automodel_launch.config import files

    if not recipe.word or args.config is not None or not args.overrides:
        return
    word = args.overrides[0]
    if word in files.available(recipe) or re.fullmatch(r"[\w-]+", word):  # else it is an override
        args.config = args.overrides.pop(0)


def overridden(
    command: Command, args: argparse.Namespace, recipe: Recipe, env_file: profiles.EnvFile
) -> list[Override]:
    """The command line's overrides; where a word is none, a guess at what it was to be."""
    from automodel_launch.commands import hints
    from automodel_launch.config import overrides

    parsed = []
    for text in args.overrides:
        try:
            parsed.append(overrides.parse(text))
        except LaunchError as error:
            error.hint = hints.word(text, args.overrides, recipe, env_file, command.option_names) or error.hint
            raise
    return parsed
