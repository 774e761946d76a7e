"""Slurm, containers, and the node agent's own words."""

from __future__ import annotations

from .signature import CANNOT, CASCADE, EITHER, HELPS, MAY, ROOT, Signature

_S = r"(?:\*\*\* (?:STEP|JOB|STEPD)? ?\S+ ON \S+ CANCELLED AT \S+ )"

CLUSTER = (
    Signature(
        "slurm-node-failure",
        ROOT,
        _S + r"DUE TO NODE FAILURE|Node failure on \S+|.*\bended without a record: killed, or the node failed",
        "a node is gone: it failed, was restarted, or its agent was killed",
        "nothing in the job; `launch.py nodes PROFILE` shows the nodes that are kept from further attempts",
        HELPS,
    ),
    Signature(
        "slurm-time-limit",
        ROOT,
        _S + r"DUE TO TIME LIMIT",
        "the job has reached its time limit",
        "`until` or `chain` in the profile continue it automatically; or a longer `time`",
        HELPS,
    ),
    Signature(
        "slurm-preempted",
        ROOT,
        _S + r"DUE TO PREEMPTION",
        "a job of higher priority took the nodes",
        "`until` or `chain` in the profile continue it automatically",
        HELPS,
    ),
    Signature(
        "slurm-requeued",
        ROOT,
        _S + r"DUE TO JOB REQUEUE",
        "the job was put back into the queue",
        "nothing",
        HELPS,
    ),
    Signature(
        "slurm-cancelled",
        CASCADE,
        _S + r"\*\*\*|Force Terminated (?:job|Step)|Job step aborted: Waiting up to|Terminating (?:job )?[Ss]tep",
        "Slurm has ended the step: somebody asked for it, or one of its tasks had failed",
        "look for what came before",
    ),
    Signature(
        "slurm-step-creation",
        ROOT,
        r"Unable to create step for job|Task launch for \S+ failed|Job credential expired|Unable to confirm allocation"
        r"|.*task launch failed|.*Application launch failed",
        "Slurm could not start the ranks on all nodes",
        "nothing in the job; where it comes again, the operators",
        HELPS,
    ),
    Signature(
        "slurm-prolog",
        ROOT,
        r".*[Pp]rolog (?:failed|hung|error)|.*Prolog.*launch failure",
        "the cluster's own preparation of the node failed",
        "tell the operators",
        HELPS,
        True,
    ),
    Signature(
        "container-import",
        ROOT,
        r"pyxis: (?:failed to import docker image|couldn't get image|failed to create container)"
        r"|\[ERROR\] .*(?:manifest|Could not process JSON|URL .* returned error code)",
        "the container's image could not be fetched or unpacked",
        "`launch.py image PROFILE import` once; its name and the registry's credentials",
    ),
    Signature(
        "container-start",
        ROOT,
        r"(?:pyxis: )?(?:couldn't start container|container start failed|child \d+ failed with error code)"
        r"|enroot-(?:mount|nsenter|switchroot): |.*nvidia-container-cli: ",
        "the container did not start on a node",
        "the lines after it say why; `mounts`, the image, the node's GPU driver",
    ),
    Signature(
        "python-missing",
        ROOT,
        r"no Python\b|python '\S+' was not found",
        "the node, or its container, has no Python that could start the job",
        "`python` or agent_python of the profile: a path that is there on every node",
    ),
    Signature(
        "startup-command",
        EITHER,
        r"startup command(?:s:|\ failed)",
        "a setup line or startup command of the profile failed on a node",
        "run it by hand there; logs/agent-N.log has what it printed",
    ),
    Signature(
        "agent-missing",
        EITHER,
        r"node \d+ never started its agent",
        "a node has not started: it, its container or its file system did not come up",
        "logs/log-*.out has what Slurm says of it; `launch.py doctor PROFILE`",
        HELPS,
    ),
    Signature(
        "hung",
        ROOT,
        r"hung: ",
        "the training hung and was ended",
        "logs/stack-*.txt show where every rank was; look first at one that is in another place than the others",
    ),
    Signature(
        "data-changed",
        ROOT,
        r".*the run began with other data",
        "the data are not those with which the run began",
        "docs/data.md says how to go on with other data on purpose",
        CANNOT,
    ),
    Signature(
        "run-in-use",
        ROOT,
        r"the run is in use by job",
        "another job trains the same run",
        "nothing: it goes on there; --fresh starts a run of its own",
        MAY,
    ),
    Signature(
        "interrupted",
        CASCADE,
        r"killed by SIG(?:INT|HUP)|ended by SIG\w+ from outside",
        "somebody has ended the process",
        "who? `sacct -j ID`; the node's owner",
    ),
)
