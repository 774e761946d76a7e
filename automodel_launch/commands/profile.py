"""`profile JOB`: torch's profiler in a training that runs, and which rank the others wait for."""

from __future__ import annotations

import argparse
import re
import statistics
from typing import Any

from automodel_launch import contract, workspace
from automodel_launch.commands import console, hints, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.commands.watch import Impatient
from automodel_launch.errors import LaunchError, UsageError
from automodel_launch.jobs.records import Record
from automodel_launch.launch import profiling
from automodel_launch.launch.profiling import Profile, Wanted

_STEPS = re.compile(r"(?P<first>\d{1,9})(?::(?P<last>\d{1,9}))?|\+(?P<next>\d{1,4})", re.ASCII)
_MOST_STEPS = 100  # a trace of some steps takes megabytes, and is written while all ranks wait
_MOST_RANKS = 256  # that are named; see recipes/pretrain_lib/profiling.py
_ROWS = 10


class ProfileCommand(JobCommand):
    """Profile some steps of some ranks; the training goes on."""

    name = "profile"
    options = (
        Option(("--steps",), "A:B, both included, or A alone, or +N, the next N (default: +3)", "A:B", "+3"),
        Option(("--ranks",), "global ranks: 0,3,8:15 or all (default: 0)", "0,3|all", "0"),
        Option(("--no-trace",), "only how long each rank computes, and no traces"),
    )

    def find(self, args: argparse.Namespace) -> Record:
        """The job; a hint where a profile of env.toml was meant."""
        try:
            return super().find(args)
        except LaunchError as error:
            meant = hints.profiles(args.job, workspace.find(args.env))
            if meant:
                error.hint = f"{error.hint}; {meant}" if error.hint else meant
            raise

    def run(self, args: argparse.Namespace) -> int:
        """Ask for it, and wait until it is written."""
        first, steps = _steps(args.steps)
        wanted = Wanted(first, steps, _ranks(args.ranks), not args.no_trace)
        record = self.find(args)
        interrupts = Impatient()
        with interrupts.caught():
            now = one_job.status(record)
            one_job.reachable(record, now)
            found = profiling.profile(record, now, wanted, console.say, lambda: bool(interrupts.received))
        if found is None:
            request = one_job.directory(record).file(contract.PROFILE_REQUEST)
            console.say(f"stopped waiting; {record.job_id} profiles all the same, unless {request} is removed before")
            return interrupts.code
        if args.json:
            console.document({"job_id": record.job_id, **_data(found)})
        else:
            _show(found)
        return 1 if found.missing or any(row.get("error") for row in found.rows) else 0


def _steps(text: str) -> tuple[int | None, int]:
    """The first step, None for the next one, and how many.

    Raises:
        UsageError: it is neither A:B nor A nor +N, or too many.
    """
    match = _STEPS.fullmatch(text)
    if match is None:
        raise UsageError(f"--steps {text}: expected A:B (steps A to B, both included), A, or +N (the next N steps).")
    if match["next"] is not None:
        first, number = None, int(match["next"])
    else:
        first = int(match["first"])
        number = int(match["last"] or first) - first + 1
    if number < 1:
        raise UsageError(f"--steps {text}: that is no step; the first one comes before the last, as in 10:12.")
    if number > _MOST_STEPS:
        raise UsageError(
            f"--steps {text}: {number} steps; a profile has {_MOST_STEPS} at most, and three tell as much."
        )
    return first, number


def _ranks(text: str) -> tuple[int, ...] | None:
    """The ranks, None for all.

    Raises:
        UsageError: it is no list of ranks.
    """
    if text == "all":
        return None
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,7})(?::(\d{1,7}))?", part.strip(), re.ASCII)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--ranks {text}: expected global ranks, as 0 or 0,3 or 8:15, or `all`.")
        if int(match[2] or match[1]) - int(match[1]) >= _MOST_RANKS or len(found) > _MOST_RANKS:
            raise UsageError(
                f"--ranks {text}: {_MOST_RANKS} ranks at most, or `all` (with --no-trace: without traces)."
            )
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def _data(found: Profile) -> dict[str, object]:
    slow = profiling.slowest(found.rows)
    lag = None if slow is None else {"rank": slow[0]["rank"], "lag_s": slow[1]}
    told = {"first": found.first, "last": found.first + found.steps - 1, "folder": found.folder}
    return {**told, "ranks": found.rows, "missing": found.missing, "slowest": lag}


def _show(found: Profile) -> None:
    """Traces on stdout, what they tell beside it."""
    written = [row for row in found.rows if row.get("trace")]
    for row in written[: None if len(written) <= _ROWS else 0]:
        console.out(f"{found.folder}/{row['trace']}")
    if len(written) > _ROWS:
        console.out(found.folder)
    told = sorted((row for row in found.rows if row.get("outside_s")), key=lambda row: -_outside(row))
    if len(found.rows) > 1 and told:
        rows = [("rank", "node", "GPU", "step", "outside collectives")]
        for row in told[:_ROWS]:
            times = (f"{row['step_s']:.4g} s", f"{_outside(row):.4g} s")
            rows.append((str(row["rank"]), str(row["host"]), str(row.get("gpu") or "-"), *times))
        for line in console.table(rows):
            console.out(line)
        if len(told) > _ROWS:
            console.say(f"the {_ROWS} slowest of {len(told)} ranks; --json has all")
    _say_what(found, sum(row.get("bytes") or 0 for row in written), len(written))


def _outside(row: dict[str, Any]) -> float:
    """Of a step, on average, in seconds."""
    return statistics.fmean(row["outside_s"])


def _say_what(found: Profile, size: int, traces: int) -> None:
    if traces:
        told = f"{traces} traces, {console.size(size)}; they open" if traces > 1 else f"{console.size(size)}; it opens"
        console.say(f"{told} in https://ui.perfetto.dev or chrome://tracing")
    slow = profiling.slowest(found.rows)
    if slow is not None:
        row, lag = slow
        where = f"{row['host']}, GPU {row['gpu']}" if row.get("gpu") else row["host"]
        share = 100 * lag / row["step_s"]
        console.say(f"the others wait for rank {row['rank']} ({where}): {lag:.3g} s of each step, {share:.0f} %")
    failed = [row for row in found.rows if row.get("error")]
    for row in failed[:3]:
        console.say(f"rank {row['rank']}: {row['error']}")
    if len(failed) > 3:
        console.say(f"and {len(failed) - 3} more ranks; --json has all")
    short = [row for row in found.rows if not row.get("error") and row.get("steps") != found.steps]
    if short:
        console.say(f"the training has ended before: {short[0].get('steps')} of {found.steps} steps were profiled")
    if found.missing:
        ranks = console.listed(map(str, found.missing))
        console.say(f"nothing has come from rank {ranks}: a full disk? Their logs tell")


COMMAND = ProfileCommand()
