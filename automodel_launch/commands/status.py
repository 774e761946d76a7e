"""`status [JOB]`: one job's state, error, last step, and where its result is."""

from __future__ import annotations

import argparse

from automodel_launch import contract
from automodel_launch.commands import console, goodput_line, one_job, one_sweep
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.jobs import history
from automodel_launch.launch import closing


class ShowStatus(JobCommand):
    """One job now."""

    name = "status"
    bare = True
    while_submitting = True

    def run(self, args: argparse.Namespace) -> int:
        """Ask for its state, and print it with every attempt at its run."""
        sweep = one_sweep.named(args)
        if sweep is not None:
            return one_sweep.status(args, sweep)
        record = self.find(args)
        now = one_job.status(record)
        one_job.reachable(record, now)
        one_job.remember(args, record, now)
        if args.json:
            job = one_job.directory(record)
            phase = (job.phase() or (None,))[0] if now.state == contract.RUNNING else None
            tried = history.attempts(record.run_dir, job.place)
            console.document(
                {**one_job.row(record, now), "phase": phase, "metrics": job.last_metrics(), "history": tried}
                | {"goodput": goodput_line.document(record)}
            )
        else:
            block = closing.closing_block(record, now)
            console.out("\n".join(filter(None, (block, goodput_line.line(record)))))
        return 0


COMMAND = ShowStatus()
