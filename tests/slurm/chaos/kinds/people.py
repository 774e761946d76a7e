"""What people do with the launcher."""

from __future__ import annotations

import os
import signal

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.chaos.tally import LIE, LOST


def _says_paused(case: Case) -> None:
    assert case.run
    case.until(lambda: not case.live(), 60, "an empty queue")
    done = case.launch("status", case.run.id)
    if "pause" not in (done.stdout + done.stderr).lower():
        case.find(LIE, f"the run is paused, and `status` does not say so: {' '.join(done.stdout.split())[:300]}")


@kind("CANCELLED", "PAUSED")
def pause(case: Case) -> None:
    """`pause`, then `resume`"""
    run = case.start()
    case.launch("pause", run.id)
    _says_paused(case)


@kind("CANCELLED", "PAUSED")
def stop_file(case: Case) -> None:
    """The file `stop` is made in the run's directory by hand"""
    run = case.start()
    (run.run_dir / "stop").touch()
    case.until(lambda: not case.live(), 60, "an empty queue")


@kind("CANCELLED")
def cancel_twice(case: Case) -> None:
    """Two `cancel` at once, or one after the other"""
    run = case.start()
    first = case.begin("cancel", run.id)
    if case.rng.random() < 0.5:
        case.wait(0.5, 3)
    second = case.begin("cancel", run.id, *(["--now"] if case.rng.random() < 0.5 else []))
    codes = [case.end(first), case.end(second)]
    case.say(f"codes {codes}")
    if codes[0] or codes[1] not in (0, 2):
        case.find(LIE, f"two cancels end with {codes}: {case.output(second)[-300:]}")
    if case.live():
        case.find(LIE, f"`cancel` has returned, and Slurm has {[f'{j.id} {j.state}' for j in case.live()]}")


@kind(calm=True)
def resume_while_running(case: Case) -> None:
    """`resume` of a job that runs is refused"""
    run = case.start()
    before = len(case.live())
    done = case.launch("resume", run.id)
    if done.returncode != 2:
        case.find(LIE, f"`resume` of a running job ends with {done.returncode}: {done.stderr[-300:]}")
    if len(case.live()) > before:
        case.find(LOST, f"`resume` of a running job has submitted another one: {len(case.live())} in the queue")


@kind()
def resumes_at_once(case: Case) -> None:
    """Cancelled, then `resume` twice at once: one job"""
    run = case.start()
    case.launch("cancel", run.id)
    case.until(lambda: not case.live(), 30, "an empty queue")
    case.witness.resumed[str(run.dir)] = float("inf")
    processes = [case.begin("resume", run.id) for _ in range(2)]
    codes = sorted(case.end(process) for process in processes)
    case.say(f"codes {codes}")
    case.wait(2, 4)
    now = [job for job in case.live() if "Dependency" not in job.reason]
    if len(now) > 1:
        case.find(LOST, f"two `resume` at once (codes {codes}): Slurm jobs {[f'{j.id} {j.state}' for j in now]}")


@kind(calm=True)
def attach_killed(case: Case) -> None:
    """`attach` is killed, interrupted, or its terminal is closed"""
    run = case.start()
    process = case.begin("attach", run.id)
    case.wait(1, 3)
    signum = case.rng.choice((signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGTERM))
    case.say(signum.name)
    os.killpg(process.pid, signum)
    case.end(process)
