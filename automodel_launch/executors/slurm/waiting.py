"""Why a job waits: Slurm's reasons, and what to do about those that do not pass by themselves.

The words are those of `squeue -o %r` (22.05). Priority, Resources and Dependency are how a queue works: they need no
advice, nor does a word that is not known here.
"""

from __future__ import annotations

import re

_NEVER = "it never starts like this: cancel it and launch it again with"
# The first that matches counts; {id} is the Slurm job.
_REASONS: tuple[tuple[str, str, str], ...] = (
    (r"JobHeldUser", "held by its owner", "scontrol release {id}"),
    (r"JobHeldAdmin", "held by an administrator", "only an administrator can release it; ask why it is held"),
    (
        r".*requeued.in.held.state.*",  # nothing says which of the two it was
        "requeued and held: by an operator, or by the cluster for its exit code (RequeueExitHold)",
        "scontrol release {id} lets it go on",
    ),
    (
        r"launch failed requeued held|JobHoldMaxRequeue|.*requeued.*held.*",
        "held by Slurm after it could not be started",
        "scontrol show job {id} names the nodes, `exclude` keeps off them; then scontrol release {id}",
    ),
    (
        r"DependencyNeverSatisfied",
        "the job that it waits for has not ended as `dependency` demands",
        "scontrol update JobId={id} Dependency= lets it start without; or cancel it",
    ),
    (r"PartitionTimeLimit", "`time` is longer than the partition allows", f"{_NEVER} a shorter `time`"),
    (
        r"PartitionNodeLimit|PartitionConfig",
        "`nodes` is more, or less, than the partition allows",
        f"{_NEVER} other `nodes`",
    ),
    (r"PartitionDown|PartitionInactive", "the partition is down", "sinfo -s; it starts when the partition is up again"),
    (r"BadConstraints", "no node is what the job asks for", f"{_NEVER} another `constraint`, `gres` or `nodelist`"),
    (
        r"ReqNodeNotAvail.*|.*[Nn]odes? required for job are DOWN.*|NodeDown",
        "nodes that it needs are down, drained or reserved",
        "sinfo -R and scontrol show reservation tell until when; another `nodelist`, or a `time` that ends before it",
    ),
    (r"ReservationDeleted|InvalidReservation", "its reservation is gone", f"{_NEVER} another `reservation`"),
    (r"Reservation", "its reservation has not begun", "scontrol show reservation tells when it does"),
    (r"Licenses", "the licences that it asks for are in use", "scontrol show licenses; it starts when some are free"),
    (
        r"InvalidAccount|AccountNotAllowed",
        "`account` may not be used there",
        f"{_NEVER} another `account` or `partition`",
    ),
    (r"InvalidQOS|QOSNotAllowed", "`qos` may not be used there", f"{_NEVER} another `qos` or `partition`"),
    (
        r"(Assoc|QOS)(Max|Min).*(PerJob|PerNode|WallDuration).*|QOSMin.*|QOSTimeLimit|AssociationTimeLimit|MaxMemPerLimit",
        "it asks for more, or less, than one job of its account or QOS may have",
        f"{_NEVER} other `nodes`, `gpus_per_node` or `time`; sacctmgr show qos, sacctmgr show assoc tell the limits",
    ),
    (
        r"(Association|Assoc|QOS)(Grp|Max|Resource|Job|Usage).*|Max\w+PerAccount",
        "a limit of its account or QOS is used up",
        "it starts when other jobs there have ended; squeue -A ACCOUNT, sacctmgr show assoc and sshare tell more",
    ),
)


def meaning(reason: str, slurm_id: str) -> tuple[str | None, str | None]:
    """What the reason means and what to do about it; neither where it passes by itself."""
    for pattern, words, advice in _REASONS:
        if re.fullmatch(pattern, reason.strip("()")):
            return words, advice.format(id=slurm_id)
    return None, None
