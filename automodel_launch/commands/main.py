"""Commands and their options; no logic. `main` is the only place that prints an error and chooses an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from automodel_launch import __version__
from automodel_launch.errors import LaunchError, UsageError

USAGE = """\
launch.py RECIPE [-c CONFIG] [--run PROFILE | --batch PROFILE] [--dry-run] [OVERRIDE ...]
       launch.py recipes | configs RECIPE | profiles [PROFILE]
       launch.py jobs | status JOB | attach JOB | logs JOB | cancel JOB | pause JOB | resume JOB
       launch.py check RECIPE [-c CONFIG] [--run PROFILE] [OVERRIDE ...]
       launch.py data-prep inspect PATH [--tokenizer DIR] [--json]
       launch.py doctor PROFILE | doctor --gpu PROFILE [OVERRIDE ...]
       launch.py nodes PROFILE [--forgive NODE]
       launch.py image PROFILE import|list|remove [IMAGE]"""

EPILOG = """\
OVERRIDE is key.sub=value (+key=value for a new key, ~key to remove one), or --key.sub value.
run.env.KEY=value overrides a key of the profile. JOB is a job's id, its unique beginning, a run's name, or `last`.

examples:
  launch.py pretrain -c tiny                                    here and now
  launch.py pretrain -c tiny --dry-run                          what would be submitted, and what is wrong with it
  launch.py pretrain -c tiny --batch local optimizer.lr=1e-3    detached

exit codes: 0 success, the job's own code if it failed, 2 bad input, 3 refused by a check, 4 not submitted,
            130 interrupted. `launch.py COMMAND --help` tells more of one command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code of docs/cli.md."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except LaunchError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        sys.stderr.close()
        return 141


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        _parser("launch.py", USAGE, EPILOG).print_help(sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(__version__)
        return 0
    name, rest = argv[0], argv[1:]
    if name.startswith("-"):
        raise UsageError(f"a recipe or a command comes first, not {name}.", "python launch.py --help")
    parse = COMMANDS.get(name)
    if parse:
        return parse(rest)
    return _recipe_command(name, rest) if rest and rest[0].isidentifier() else _launch([name, *rest])


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting, so that all errors look alike."""

    def error(self, message: str) -> None:  # type: ignore[override]  # raises like the original exits
        raise UsageError(f"{message}.", f"{self.prog} --help")


def _parser(prog: str, usage: str | None = None, epilog: str | None = None, about: str | None = None) -> _Parser:
    return _Parser(
        prog=prog,
        usage=usage,
        epilog=epilog,
        description=about,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _command(name: str, about: str, *, job: bool = False) -> _Parser:
    parser = _parser(f"launch.py {name}", about=about)
    parser.add_argument("--env", metavar="FILE", help="another env.toml (default: $LAUNCH_ENV, else the checkout's)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    if job:
        parser.add_argument("job", metavar="JOB", help="a job's id, its unique beginning, a run's name, or `last`")
    return parser


def _launch_parser(check: bool) -> _Parser:
    name, about = ("check", "the plan's findings only") if check else ("RECIPE", "plan a job, check it, and run it")
    parser = _command(name, about)
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or the path of a script")
    parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="key=value, +key=value, ~key")
    parser.add_argument("-c", "--config", metavar="CONFIG", help="configs/RECIPE/CONFIG.yaml, or a path")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--run", metavar="PROFILE", help="attached: submit, follow, exit with the job's result")
    where.add_argument("--batch", metavar="PROFILE", help="detached: submit, print the id, exit")
    parser.add_argument("--dry-run", action="store_true", help="show exactly what would be submitted")
    parser.add_argument(
        "--name", metavar="NAME", help="the run's name (default: RECIPE-CONFIG-hash of what is trained)"
    )
    parser.add_argument("--fresh", action="store_true", help="start a run anew beside one of the same name")
    parser.add_argument("--force", action="store_true", help="submit in spite of error findings")
    parser.add_argument("--offline", action="store_true", help="ask no cluster anything")
    return parser


def _launch(argv: list[str], check: bool = False) -> int:
    from automodel_launch.commands import launch
    from automodel_launch.config.overrides import split

    parser = _launch_parser(check)
    options = {option: action for action in parser._actions for option in action.option_strings}
    with_value = {option for option, action in options.items() if action.nargs is None}
    args = parser.parse_intermixed_args(split(argv, with_value, set(options) - with_value))
    args.options = [option for option in options if option.startswith("--")]
    args.known_commands = list(COMMANDS)
    return launch.check(args) if check else launch.launch(args)


def _recipe_command(recipe: str, argv: list[str]) -> int:
    """`RECIPE WORD ...`: a command of the recipe's own script, where its metadata block names it."""
    from automodel_launch.commands import scripts

    return scripts.command(recipe, argv) if scripts.has(recipe, argv[0], also=COMMANDS) else _launch([recipe, *argv])


def _recipes(argv: list[str]) -> int:
    args = _command("recipes", "the recipes").parse_args(argv)
    from automodel_launch.commands import listing

    return listing.recipes(args)


def _configs(argv: list[str]) -> int:
    parser = _command("configs", "a recipe's configs")
    parser.add_argument("recipe", metavar="RECIPE")
    args = parser.parse_args(argv)
    from automodel_launch.commands import listing

    return listing.configs(args)


def _profiles(argv: list[str]) -> int:
    parser = _command("profiles", "the profiles of env.toml, or one with the source of each value")
    parser.add_argument("profile", metavar="PROFILE", nargs="?")
    args = parser.parse_args(argv)
    from automodel_launch.commands import listing

    return listing.profiles(args)


def _jobs(argv: list[str]) -> int:
    args = _command("jobs", "every job submitted from here, with its state").parse_args(argv)
    from automodel_launch.commands import following

    return following.jobs(args)


def _status(argv: list[str]) -> int:
    args = _command("status", "what a job does, or how it ended", job=True).parse_args(argv)
    from automodel_launch.commands import following

    return following.status(args)


def _attach(argv: list[str]) -> int:
    args = _command("attach", "follow a job to its end; exits with its result", job=True).parse_args(argv)
    from automodel_launch.commands import following

    return following.attach(args)


def _logs(argv: list[str]) -> int:
    parser = _command("logs", "a job's logs", job=True)
    parser.add_argument("--rank", metavar="N|all", default="0", help="global rank (default: 0), or all of them")
    parser.add_argument("--follow", action="store_true", help="go on until the job ends")
    args = parser.parse_args(argv)
    from automodel_launch.commands import following

    return following.logs(args)


def _cancel(argv: list[str]) -> int:
    parser = _command("cancel", "stop a job; it may save a checkpoint first", job=True)
    parser.add_argument("--now", action="store_true", help="kill it, without a save")
    args = parser.parse_args(argv)
    from automodel_launch.commands import following

    return following.cancel(args)


def _pause(argv: list[str]) -> int:
    args = _command("pause", "stop a run, with a save, until `resume`", job=True).parse_args(argv)
    from automodel_launch.commands import following

    return following.pause(args)


def _resume(argv: list[str]) -> int:
    about = "a further attempt at a job that is over, from its run's last checkpoint"
    args = _command("resume", about, job=True).parse_args(argv)
    from automodel_launch.commands import following

    return following.resume(args)


def _nodes(argv: list[str]) -> int:
    parser = _command("nodes", "nodes that have failed jobs, which further attempts keep away from for a day")
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument("--forgive", metavar="NODE", help="take this node off the list")
    args = parser.parse_args(argv)
    from automodel_launch.jobs import bad_nodes

    return bad_nodes.nodes(args)


def _doctor(argv: list[str]) -> int:
    parser = _command("doctor", "is this profile's place reachable and usable; exits with 3 if not, 4 if unreachable")
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument(
        "overrides", metavar="OVERRIDE", nargs="*", help="with --gpu: key=value of gpu-check, run.env.*"
    )
    about = "a job of two minutes on its nodes: GPUs, all-reduce, paths, disks, clocks; exits with 1 if one is bad"
    parser.add_argument("--gpu", action="store_true", help=about)
    args = parser.parse_intermixed_args(argv)
    if args.gpu:
        from automodel_launch.commands import doctor_gpu

        return doctor_gpu.doctor(args)
    if args.overrides:
        raise UsageError(f"doctor {args.profile}: {args.overrides[0]} belongs to --gpu.", "launch.py doctor --help")
    from automodel_launch.commands import doctor

    return doctor.doctor(args)


def _image(argv: list[str]) -> int:
    parser = _command("image", "images imported to files of the cluster (image_cache)")
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument("action", choices=("import", "list", "remove"))
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="default: the profile's container_image")
    args = parser.parse_args(argv)
    from automodel_launch.commands import image

    return image.image(args)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "recipes": _recipes,
    "configs": _configs,
    "profiles": _profiles,
    "jobs": _jobs,
    "status": _status,
    "attach": _attach,
    "logs": _logs,
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "check": lambda argv: _launch(argv, check=True),
    "doctor": _doctor,
    "nodes": _nodes,
    "image": _image,
}
