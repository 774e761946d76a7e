"""`launch.py RECIPE ...`: from the command line to a Plan, and from a Plan to its end: docs/architecture.md's line."""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from automodel_launch import workspace
from automodel_launch.commands import console, registry
from automodel_launch.commands.command import COMMON, Command, Option, Parser
from automodel_launch.errors import ConfigError, LaunchError, PlanRefused, ProfileError, UsageError
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace

if TYPE_CHECKING:  # a wrong profile's name is answered before the modules behind a plan are imported
    from automodel_launch.config.merge import MergedConfig
    from automodel_launch.config.overrides import Override
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan
    from automodel_launch.plan.recipes import Recipe

RUN_ACTIVE = "run-active"  # which --force does not override: two jobs would write one set of checkpoints
_GUESS = re.compile(r" Did you mean '[^']*'\?")
OPTIONS: tuple[Option, ...] = (
    Option(("-c", "--config"), "configs/RECIPE/CONFIG.yaml, or a path", "CONFIG"),
    Option(("--run",), "attached: submit, follow, exit with the job's result", "PROFILE", group="where"),
    Option(("--batch",), "detached: submit, print the id, exit", "PROFILE", group="where"),
    Option(("--dry-run",), "show what would be submitted, and what is wrong with it, on one screen"),
    Option(("--full",), "with --dry-run: everything, to the byte"),
    Option(("--name",), "the run's name (default: RECIPE-CONFIG-hash of what is trained)", "NAME"),
    Option(("--fresh",), "start a run again, beside one of the same name"),
    Option(("--force",), "submit in spite of error findings"),
    Option(("--offline",), "ask no cluster anything"),
)


class LaunchCommand(Command):
    """A command that makes a plan."""

    options = OPTIONS

    def register(self, parser: Parser) -> None:
        """RECIPE and overrides."""
        parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or the path of a script")
        parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="key=value, +key=value, ~key")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Options and overrides in any order, overrides in AutoModel's form too."""
        from automodel_launch.config.overrides import split

        options = (*COMMON, *self.options)
        with_value = {name for option in options if option.metavar for name in option.names}
        flags = {name for option in options if not option.metavar for name in option.names} | {"-h", "--help"}
        return self.parser().parse_intermixed_args(split(argv, with_value, flags))


class Launch(LaunchCommand):
    """Preview, or submit and follow."""

    name = "RECIPE"

    @property
    def about(self) -> str:
        """It has no word of its own, and stands in no list of commands."""
        return "plan a job, check it, and run it"

    def run(self, args: argparse.Namespace) -> int:
        """To the preview, or to the job's end."""
        if args.full and not args.dry_run:
            raise UsageError("--full belongs to --dry-run. Nothing was submitted.", "--dry-run --full")
        parts = planned(self, args)
        if args.dry_run:
            return _preview(args, parts)
        from automodel_launch.commands import run_state

        end = run_state.finished(parts.plan, args.offline)
        if end is not None:
            return _say_finished(args, parts.plan, end)
        if parts.errors and not args.force:
            raise _refusal(parts)
        _tell(parts.findings)
        return _submit(args, parts)


@dataclass(frozen=True)
class Planned:
    """A plan with what was found out about it."""

    here: Workspace
    plan: Plan
    findings: list[Finding]
    theme: str

    @property
    def errors(self) -> list[Finding]:
        """The findings that refuse it."""
        return [finding for finding in self.findings if finding.level == "error"]


def planned(command: LaunchCommand, args: argparse.Namespace) -> Planned:
    """Parts are read in the order in which their errors cost least: env.toml, recipe, config, the plan, its checks.

    Raises:
        LaunchError: one of the parts is wrong, with a hint at what was most likely meant.
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
    from automodel_launch.launch import checking
    from automodel_launch.launch import planning as planning_
    from automodel_launch.plan import plan as planning

    _take_word(args, recipe)
    layered = _layered(command, args, recipe, env_file)
    mode: planning.Mode = "batch" if args.batch else "run"
    options: dict[str, Any] = {"name": args.name, "fresh": args.fresh, "offline": args.offline}
    plan = planning_.make(here, env_file, profile_name, recipe, layered, mode=mode, **options)
    return Planned(here, plan, checking.run(plan, offline=args.offline), env_file.theme)


def _layered(
    command: LaunchCommand, args: argparse.Namespace, recipe: Recipe, env_file: profiles.EnvFile
) -> MergedConfig:
    from automodel_launch.commands import hints
    from automodel_launch.config import configs, unknown

    parsed = _overrides(command, args, recipe, env_file)
    unknown.refuse_bare_options(parsed, command.option_names)
    try:
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


def _overrides(
    command: LaunchCommand, args: argparse.Namespace, recipe: Recipe, env_file: profiles.EnvFile
) -> list[Override]:
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


def _preview(args: argparse.Namespace, parts: Planned) -> int:
    from automodel_launch.commands import preview

    if args.json:
        console.document(preview.document(parts.plan, parts.findings))
    else:
        removed = tuple(text[1:] for text in args.overrides if text.startswith("~"))
        view = preview.View(args.offline, args.full, console.colours(parts.theme), removed)
        preview.show(parts.plan, parts.findings, view)
    return PlanRefused.exit_code if parts.errors else 0


def _say_finished(args: argparse.Namespace, plan: Plan, end: dict[str, Any]) -> int:
    if args.json:
        document = {"run_name": plan.run_name, "state": "FINISHED", "plan_hash": plan.plan_hash, **end}
        console.document(document, indent=None)
        return 0
    step = end.get("step")
    console.say(f"run {plan.run_name} is finished (step {step}); nothing was started. --fresh starts it again.")
    for label, key in (("checkpoint", "checkpoint"), ("for transformers", "hf")):
        if end.get(key):
            console.say(f"  {label}: {end[key]}")
    return 0


def _refusal(parts: Planned) -> PlanRefused:
    from automodel_launch.commands import preview

    forced = "" if any(finding.code == RUN_ACTIVE for finding in parts.errors) else "; --force submits it all the same"
    return PlanRefused(
        f"{parts.plan.run_name} was not submitted: {console.many(len(parts.errors), 'error')}.\n"
        f"{preview.findings_text(parts.errors)}",
        f"--dry-run shows the whole plan{forced}",
    )


def _tell(findings: list[Finding]) -> None:
    from automodel_launch.commands import preview

    if findings:
        console.say(preview.findings_text(findings))


def _submit(args: argparse.Namespace, parts: Planned) -> int:
    from automodel_launch.jobs import records
    from automodel_launch.launch import closing, follow
    from automodel_launch.launch.interrupts import Interrupts
    from automodel_launch.launch.submit import submit

    here, plan = parts.here, parts.plan
    if here.elsewhere is not None and not here.records.is_dir():
        console.say(f"{here.root} cannot be written: records and local runs are kept in {here.elsewhere}")
    began = time.monotonic()
    console.say(f"starting {plan.job_id} on {plan.profile_name}: {_size(plan)} ...")
    interrupts = Interrupts()
    plan, record = submit(plan, here, interrupts=interrupts, say=console.say)
    console.say(f"started {plan.job_id} in {time.monotonic() - began:.1f} s; logs in {plan.job_dir}/logs")
    if plan.mode == "batch":
        if args.json:
            console.document(asdict(record), indent=None)
        else:
            console.out(plan.job_id)
            for verb in ("attach", "status", "cancel"):
                console.say(f"  python launch.py {verb} {plan.job_id}")
        return 128 + interrupts.received[0][0] if interrupts.received else 0
    out = sys.stderr if args.json else sys.stdout
    follower = follow.Follower(record, ranks=[0], out=out, own=True)
    status, code = follower.run(interrupts)
    records.remember(here.records, record, status)
    if args.json:
        console.result({**asdict(record), **asdict(status), "exit_code": code})
    console.say(closing.closing_block(record, status))
    return code


def _size(plan: Plan) -> str:
    nodes = f"{console.many(plan.nodes, 'node')} x " if plan.nodes > 1 else ""
    return nodes + console.many(plan.processes_per_node, "process", "processes")


COMMAND = Launch()
