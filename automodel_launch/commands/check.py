"""`check RECIPE ...`: a plan's findings only."""

from __future__ import annotations

import argparse
import sys

from automodel_launch.commands import console, launch, one_plan
from automodel_launch.commands.launch import LaunchCommand
from automodel_launch.errors import PlanRefused

_NOT_HERE = {"--full", "--export", "--export-plain", *launch.OF_SWEEPS}


class Check(LaunchCommand):
    """Plan, and say what is wrong; exit code 3 when one finding is an error."""

    name = "check"
    options = tuple(option for option in launch.OPTIONS if _NOT_HERE.isdisjoint(option.names))

    def run(self, args: argparse.Namespace) -> int:
        """Print the findings."""
        from automodel_launch.commands import preview

        planned = one_plan.rehearsed(args, one_plan.planned(self, args))
        if args.json:
            rows = [preview.finding_document(finding) for finding in planned.findings]
            console.document({"plan_hash": planned.plan.plan_hash, "findings": rows, "rehearsal": planned.rehearsal})
        else:
            console.out(preview.findings_text(planned.findings, sys.stdout) or "nothing found")
        return PlanRefused.exit_code if planned.errors else 0


COMMAND = Check()
