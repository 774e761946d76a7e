"""Disks and files."""

from __future__ import annotations

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.chaos.tally import LOST


@kind("FAILED")
def disk_full(case: Case) -> None:
    """The job root's disk is full for a while"""
    case.settings(steps=100)
    case.start()
    case.place.disk.fill()
    case.wait(2, 30)


@kind("FAILED", "NODE_FAIL", says_how=True)
def job_root_away(case: Case) -> None:
    """The job root cannot be read by anybody for a while"""
    case.settings(steps=100)
    case.start()
    with case.place.no_sight():
        case.place.take_away()
        case.wait(3, 12)
        case.place.take_away()


@kind(calm=True)
def job_root_hidden(case: Case) -> None:
    """The job root is not mounted on the login node for a while"""
    case.settings(steps=120)
    case.start()
    with case.place.no_sight():
        case.place.hide()
        case.wait(4, 12)
        case.place.restore_files()


@kind(calm=True, unstarted=True)
def records_full(case: Case) -> None:
    """The disk of .launch is full: before the launch, or between sbatch and the record"""
    before = case.rng.random() < 0.5
    case.say("before the launch" if before else "after sbatch")
    if before:
        case.place.records.fill()
    else:
        case.commands.set("sbatch-after")
    case.witness.launching = True
    process = case.begin(*case.command())
    if not before:
        case.until(lambda: case.commands.has("sbatch-submitted") or process.poll() is not None, 60, "the submission")
        case.place.records.fill()
    case.end(process)
    case.witness.launching = False
    case.wait(4, 6)
    case.place.restore_files()
    case.adopt()


@kind(calm=True)
def record_torn(case: Case) -> None:
    """The launcher's record of a job is torn; its name at least must be told"""
    case.settings(steps=100)
    run = case.start()
    path = case.site.root / ".launch" / "jobs" / f"{run.id}.json"
    whole = path.read_bytes()
    left = case.rng.choice((0, len(whole) // 2))
    case.say(f"{left} bytes are left")
    case.witness.torn.add(str(run.dir))
    path.write_bytes(whole[:left])
    case.wait(2, 4)
    done = case.launch("jobs")
    if run.id not in done.stdout + done.stderr:
        case.find(LOST, f"`jobs` does not name {run.id}, whose record is torn: {(done.stdout + done.stderr)!r}")
    path.write_bytes(whole)
    case.witness.torn.clear()
