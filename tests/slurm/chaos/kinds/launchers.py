"""The launcher is killed, interrupted or deceived while it submits, or there are several."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.chaos.tally import LIE, LOST


def _submitting(case: Case, flag: str) -> subprocess.Popen[str]:
    """A launcher whose sbatch stands still, before or after the job was submitted."""
    case.say(flag)
    case.commands.set(flag)
    case.witness.launching = True
    process = case.begin(*case.command(case.rng.choice(("--batch", "--run"))))
    trace = {"sbatch-before": "sbatch-waits", "sbatch-after": "sbatch-submitted"}[flag]
    case.until(lambda: case.commands.has(trace) or process.poll() is not None, 60, "sbatch")
    return process


def _adopt(case: Case) -> None:
    case.witness.launching = False
    case.wait(5, 8)  # sbatch goes on without its launcher
    case.adopt()


@kind(calm=True, unstarted=True)
def launcher_killed(case: Case) -> None:
    """SIGKILL of the launcher while sbatch works, before or after the job was submitted"""
    process = _submitting(case, case.rng.choice(("sbatch-before", "sbatch-after")))
    process.kill()
    process.wait()
    _adopt(case)


@kind(calm=True, unstarted=True)
def ctrl_c_while_starting(case: Case) -> None:
    """Ctrl-C, or a closed terminal, while the launcher submits"""
    process = _submitting(case, case.rng.choice(("sbatch-before", "sbatch-after")))
    signum = case.rng.choice((signal.SIGINT, signal.SIGHUP))
    case.say(signum.name)
    if process.poll() is None:
        os.killpg(process.pid, signum)
    code = case.end(process)
    if code not in (0, 130, 128 + signum, -signum):
        case.find(LIE, f"{signum.name} while it submits: code {code}: {case.output(process)[-300:]}")
    _adopt(case)


@kind(calm=True)
def answer_lost(case: Case) -> None:
    """sbatch has submitted, and says that its socket timed out; squeue may fail, too"""
    case.commands.set("sbatch-lost")
    case.witness.launching = True
    process = case.begin(*case.command())
    with case.place.no_sight():
        if case.rng.random() < 0.5:
            case.until(lambda: case.commands.has("sbatch-done"), 60, "sbatch")
            case.say("squeue fails")
            case.commands.set("squeue-away")
            case.wait(3, 8)
            case.commands.clear()
        code = case.end(process)
    case.witness.launching = False
    if code:
        case.find(LIE, f"the job was submitted, the launcher ends with {code}: {case.output(process)[-300:]}")
    case.adopt()


@kind(calm=True)
def launchers_at_once(case: Case) -> None:
    """The same launch several times at once: one job"""
    count = case.rng.choice((2, 3))
    case.say(f"{count} launchers")
    case.witness.launching = True
    processes = [case.begin(*case.command()) for _ in range(count)]
    codes = [case.end(process) for process in processes]
    case.witness.launching = False
    directories = {job.directory for job in case.jobs()}
    if len(directories) > 1:
        case.find(LOST, f"{count} launches of one run (codes {codes}): {len(directories)} jobs were submitted")
    case.adopt()


@kind(calm=True, unstarted=True)
def launch_while_slurmctld_is_away(case: Case) -> None:
    """A launch while slurmctld is away is refused, and leaves nothing"""
    with case.place.no_sight():
        case.cluster.stop_ctld()
        done = case.launch(*case.command())
        if done.returncode != 4:
            case.find(LIE, f"slurmctld is away, the launch ends with {done.returncode}: {done.stderr[-300:]}")
        case.cluster.start_ctld()
    case.adopt()


@kind(calm=True)
def attached_killed(case: Case) -> None:
    """SIGKILL of an attached launcher (--run) while its job trains"""
    case.witness.launching = True
    process = case.begin(*case.command("--run"))
    case.until(lambda: any(case.place.jobs.glob("*/metrics.jsonl")), 60, "the first step")
    process.kill()
    process.wait()
    case.witness.launching = False
    case.adopt()
