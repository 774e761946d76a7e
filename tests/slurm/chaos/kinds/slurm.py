"""Slurm's own daemons and answers."""

from __future__ import annotations

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind


@kind(calm=True)
def slurmctld_restarted(case: Case) -> None:
    """slurmctld is started anew"""
    case.start()
    with case.place.no_sight():
        case.cluster.stop_ctld()
        case.cluster.start_ctld()


@kind(calm=True)
def slurmctld_away(case: Case) -> None:
    """slurmctld is away for a while, while the training runs"""
    case.settings(steps=150)
    case.start()
    with case.place.no_sight():
        case.cluster.stop_ctld()
        case.wait(5, 20)
        case.cluster.start_ctld()


@kind()
def rank_killed_while_slurmctld_is_away(case: Case) -> None:
    """slurmctld is away when an attempt ends that has to be followed by another"""
    run = case.start()
    with case.place.no_sight():
        case.cluster.stop_ctld()
        run.kill_rank(1)
        case.wait(3, 15)
        case.cluster.start_ctld()


@kind()
def end_while_slurmctld_is_away(case: Case) -> None:
    """slurmctld is away when the run finishes, so that its next job cannot be taken out of the queue"""
    case.settings(steps=40)
    run = case.start(25)
    with case.place.no_sight():
        case.cluster.stop_ctld()
        case.until((run.run_dir / "finished.json").exists, 40, "the run's end")
        case.wait(5, 15)
        case.cluster.start_ctld()
    case.wait(5, 8)  # whatever waits would begin now


@kind(calm=True)
def slurmdbd_away(case: Case) -> None:
    """slurmdbd is away: sacct fails"""
    case.start()
    case.cluster.stop_dbd()
    case.wait(3, 8)


@kind(calm=True)
def squeue_fails(case: Case) -> None:
    """squeue and scontrol fail on the login node"""
    case.settings(steps=100)
    case.start()
    with case.place.no_sight():
        for name in ("squeue", *(["scontrol"] if case.rng.random() < 0.5 else [])):
            case.say(name)
            case.commands.set(f"{name}-away")
        case.wait(4, 10)
        case.commands.clear()


@kind(calm=True)
def sacct_disagrees(case: Case) -> None:
    """slurmctld has forgotten the job, sacct calls it RUNNING, and it has finished"""
    case.settings(steps=40)
    run = case.start(30)
    case.until((run.run_dir / "finished.json").exists, 40, "the run's end")
    case.until(lambda: not case.live(), 30, "an empty queue")
    for name in ("squeue", "scontrol"):
        case.commands.set(f"{name}-forgotten")
    case.commands.set("sacct-says", f"RUNNING|0:0|c1|{run.id}\n")
    case.wait(8, 10)
