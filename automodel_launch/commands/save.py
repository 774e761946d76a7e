"""`save JOB`: a checkpoint now, after which the training goes on."""

from __future__ import annotations

import argparse

from automodel_launch.commands import console, one_job
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.commands.watch import Impatient
from automodel_launch.launch import requests


class Save(JobCommand):
    """Save, and go on."""

    name = "save"

    def run(self, args: argparse.Namespace) -> int:
        """Ask for it, and wait until it is there."""
        record = self.find(args)
        interrupts = Impatient()
        with interrupts.caught():
            now = one_job.status(record)
            one_job.reachable(record, now)
            found = requests.save(record, now, console.say, lambda: bool(interrupts.received))
        if found is None and interrupts.received:
            console.say(f"stopped waiting; {record.job_id} saves all the same")
            return interrupts.code
        step, path = found or (None, None)
        if args.json:
            console.document({"job_id": record.job_id, "step": step, "checkpoint": path}, indent=None)
        else:
            console.out(path or f"step {step}")
            console.say(f"{record.job_id} has saved step {step}, and goes on")
        return 0


COMMAND = Save()
