"""`doctor PROFILE`: is the place of this profile reachable and usable; `doctor --gpu PROFILE` is in doctor_gpu.py."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from automodel_launch.commands import console
from automodel_launch.commands.command import Option, Parser
from automodel_launch.commands.one_profile import ProfileCommand
from automodel_launch.errors import PlanRefused, UsageError

if TYPE_CHECKING:
    from automodel_launch.doctor.diagnosis import Line

_GPU = "a job of two minutes on its nodes: GPUs, all-reduce, paths, disks, clocks; exits with 1 if one is bad"


class Doctor(ProfileCommand):
    """A line a matter; exit code 3 when one is a FAIL."""

    name = "doctor"
    options = (Option(("--gpu",), _GPU),)

    def register(self, parser: Parser) -> None:
        """PROFILE, and the overrides of the check's recipe."""
        super().register(parser)
        parser.add_argument(
            "overrides", metavar="OVERRIDE", nargs="*", help="with --gpu: key=value of gpu-check, run.env.*"
        )

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Overrides and options in any order."""
        return self.parser().parse_intermixed_args(argv)

    def run(self, args: argparse.Namespace) -> int:
        """Ask the place, without a job unless --gpu wants one."""
        self.named(args)
        if args.gpu:
            from automodel_launch.commands import doctor_gpu

            return doctor_gpu.doctor(args)
        if args.overrides:
            raise UsageError(f"doctor {args.profile}: {args.overrides[0]} belongs to --gpu.", "launch.py doctor --help")
        from automodel_launch.doctor import examine

        chosen = self.choose(args)
        lines = list(examine(chosen.profile, chosen.here))
        if args.json:
            rows = [line.document() for line in lines]
            console.document({"profile": chosen.name, "executor": chosen.profile.executor, "lines": rows})
        else:
            colour = console.colours(chosen.env_file.theme)
            console.out(_table(lines, colour), colour)
        return PlanRefused.exit_code if any(line.level == "FAIL" for line in lines) else 0


def _table(lines: list[Line], colour: bool) -> str:
    levels = max((len(line.level) for line in lines), default=0)
    names = max((len(line.what) for line in lines), default=0)
    rows = []
    for line in lines:
        level = console.painted(f"{line.level:<{levels}}", line.level, colour)
        rows.append(f"{level}  {line.what:<{names}}  {line.detail}")
        if line.fix and line.level != "ok":
            rows.append(f"{'':<{levels}}  {'':<{names}}  fix: {line.fix}")
    return "\n".join(rows)


COMMAND = Doctor()
