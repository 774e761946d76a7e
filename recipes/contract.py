"""What the launcher and the job must agree on, said once: names of files, keys, states, exit codes, variables.

It travels with the job as recipes/contract.py; the launcher imports the same file as automodel_launch.contract (a
symbolic link). Only the standard library, and Python 3.8: the node agent imports it before anything is set up.

Names of files are relative to their directory, with `/`, so that they fit paths here and on a cluster alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

OLDEST_PYTHON = (3, 8)  # of the node agent, wherever it runs

# --- the job's directory: JOB_ROOT/JOB_ID/

PLAN = "plan.json"  # the plan, with its hash; written by the launcher, as the next five are
NOTES = "notes.json"  # what its launcher knew beside the plan; absent in jobs of a launcher before it
SCRIPT = "script"  # what was submitted, and is submitted again
CONFIG = "config.yaml"  # the resolved training config
AGENT = "agent.json"  # the launcher's order to the node agents
SECRETS = "secrets.env"  # NAME=VALUE lines that only the owner can read; removed at the end
GIT_COMMIT = "git/commit"  # the commit behind the code
GIT_DIFF = "git/diff.patch"  # and what was not committed, where there was anything
CODE = "code"  # what travelled
RECIPES = "code/recipes"
NODE_AGENT = "code/recipes/node_agent.py"
NODE_AGENT_SH = "code/recipes/node_agent.sh"  # starts it with a Python that can run it
LOGS, NODES = "logs", "nodes"
ON_CHECKPOINT = "on-checkpoint"  # what the job that evaluates a checkpoint is made of (node_agent_lib/on_checkpoint.py)
METRICS = "metrics.jsonl"  # one object a training step or validation
EVENTS = "events.jsonl"  # one object a change of state
PHASES = "phases.jsonl"  # one object for each time that was spent on something else than steps
EXIT = "exit.json"  # how the job ended, written by itself
CHAIN = "chain"  # one line "NOW NEXT ATTEMPT SPARE": Slurm ids (NEXT may be "-", SPARE absent), the attempt from 0
RESUME = "resume"  # the Slurm job that a person has submitted for a job that was over; it alone may go on with it
STOP = "stop"  # an empty file that ends the job; in the run's directory it ends every job of the run
REQUEST = "request"  # what a person asks of the job that runs, JSON with REQUEST_KEYS; each is done once
ANSWERS = "answers"  # holds WHO.json with ANSWER_KEYS: WHO is `node-N`, for its agent, or TRAINING; `step` was saved
REQUEST_KEYS, ANSWER_KEYS = ("id", "what", "time"), ("id", "time", "what", "step")
REQUEST_STACKS, REQUEST_SAVE, TRAINING = "stacks", "save", "training"
PROFILE, PROFILER = "profile", "profiler"  # `what`, and WHO hears it (`time`: since when) and answers in PROFILER-ID
PROFILE_REQUEST = "request-profile"  # like REQUEST, but it may wait long for its steps; who removes it, withdraws it
PROFILE_REQUEST_KEYS = (*REQUEST_KEYS, "first", "steps", "ranks", "trace")  # null: the next step; all ranks
PROFILE_ANSWER_KEYS = (*PROFILE_REQUEST_KEYS, "folder", "error")
PROFILES = "profiles"  # a folder a profile; in it a trace of each rank and, once that is complete, the rank's record
PROFILE_TRACE, PROFILE_RECORD = "rank-{}.trace.json.gz", "rank-{}.json"
PROFILE_RANK_KEYS = ("rank", "host", "gpu", "steps", "step_s", "outside_s", "trace", "bytes", "error")
RANK_TIMES, RANK_TIMES_VAR = "rank-times.jsonl", "LAUNCH_RANK_TIMES"  # steps between two samples of all ranks
RANK_TIME_KEYS = ("time", "step", "step_s", "median_s", "ranks")  # [rank, s outside of collectives]; of the others
SUBMISSION = ".submission"  # locked while the command that submits the job works, whether its launcher lives or not
RESERVE = ".reserve"  # bytes that an attempt holds for its own records on a full disk
ENVIRONMENT = "environment.json"  # what it ran with: Python, packages, driver, image (node_agent_lib/what_ran.py)
PREDECESSORS = "after.json"  # the runs whose end the job waits for: {"runs": [objects of PREDECESSOR_KEYS]}
ANY_END, ENDINGS = "any_end", "ended"  # there: a failure of the run will do; RUN_NAME of each that has ended so
CHOICES = "choices.json"  # {"choices": [objects of CHOICE_KEYS]}: best points of sweeps (node_agent_lib/choosing.py)
GPU_CHECK = "gpu-check"  # what the recipe gpu-check finds, a file a node

_RANK_LOG = re.compile(r"rank-(\d+)\.log")


def rank_log(rank: int) -> str:
    """The log of a global rank."""
    return f"{LOGS}/rank-{rank}.log"


def rank_of_log(name: str) -> int | None:
    """The global rank whose log has this name inside logs/, None for another file."""
    match = _RANK_LOG.fullmatch(name)
    return int(match.group(1)) if match else None


def agent_log(node: int) -> str:
    """The log of a node's agent: startup commands, torchrun."""
    return f"{LOGS}/agent-{node}.log"


def stack_file(rank: int) -> str:
    """The stacks of a rank that hangs."""
    return f"{LOGS}/stack-{rank}.txt"


def node_file(node: int) -> str:
    """The record of a node's agent, rewritten as a heartbeat."""
    return f"{NODES}/{node}.json"


def start_that_ps_tells(said: str) -> str | None:
    """When a process started, from what PS_START prints; None for no process, and for one that has ended."""
    state, _, start = said.strip().partition(" ")
    return None if state.startswith("Z") else start.strip() or None


def this_machine() -> str | None:
    """`machine` of this process."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink(_PID_NAMESPACE)}"  # noqa: PTH115  (that of Path needs Python 3.9)
    except OSError:
        return None


def between_agents(what: str, attempt: int) -> str:
    """What agents of an attempt tell each other: `failed`, `hung`, `ended`, `seats`; they see the directory's time."""
    return f".{what}-{attempt}"


def node_environment(node: int) -> str:
    """What a node has that is not as environment.json says."""
    return f"environment-{node}.json"


def former_exit(attempt: int) -> str:
    """Where the exit.json of an attempt goes when the job runs again."""
    return f"exit-{attempt}.json"


def gpu_check_file(node: int) -> str:
    """What gpu-check has found on a node."""
    return f"{GPU_CHECK}/node-{node}.json"


def has_no_token(row: Mapping[str, Any]) -> bool:
    """Of a validation in metrics.jsonl: it has read no token, so it has no loss. AutoModel 0.7.0 tells one of 0.0."""
    return row.get("num_label_tokens") == 0


# --- the run's directory

RUN = "run.json"  # what the run trains, and with how many processes
DATA = "data.json"  # the data that the run trains on, as its first job found them (data_identity.py)
FINISHED = "finished.json"  # written by the recipe when the run has reached its end, and only then
HF = "hf"  # a link to the last checkpoint's export, made before finished.json where there is one
HISTORY = "history.jsonl"  # the beginning and the end of every attempt
LOCK = "lock"  # held by node 0's agent; holds the job's id
SUCCESSORS = "after"  # JOB_ID.json of each job that waits for the run's end: objects of SUCCESSOR_KEYS
READERS = "readers"  # runs that begin from a checkpoint of this one, a file each (automodel_launch/launch/origin.py)
EVALUATIONS = "evaluations"  # beside the checkpoints: NAME.json of each that was evaluated (pretrain_lib/evaluation.py)
EVALUATION_JOB, THIS_CHECKPOINT = ".job.json", "LAUNCH_THIS_CHECKPOINT"  # NAME.job.json: its job, by on_checkpoint
EVALUATION_JOB_KEYS = ("checkpoint", "time", "by", "job_dir", "slurm_id", "error")
CLAIMS = "claims"  # which job of the run is in the queue: the launchers' own (automodel_launch/jobs/claims.py)

NOTES_KEYS, RUN_KEYS = ("findings", "flops_per_token", "gpu"), ("trained", "world_size")
DATA_KEYS = ("digest", "rows", "time", "job_id", "before")  # `before`: digests of data that it trained on earlier
PREDECESSOR_KEYS = ("run_name", "run_dir", "job_id", "job_dir", "history_bytes")  # what the history had by then
SUCCESSOR_KEYS = ("job_id", "job_dir", "run_dir")
CHOICE_KEYS = ("sweep", "link", "metric", "highest", "all", "runs")  # `metric` null: val_loss, else loss; `link` too
FINISHED_KEYS = ("step", "max_steps", "checkpoint", "hf", "time")

# --- the job root

BAD_NODES = "bad-nodes.jsonl"  # a line a failure; the last line of a node counts
BAD_NODE_KEYS = ("time", "node", "why", "job_id", "forgiven")
BAD_NODE_S = 24 * 3600.0  # how long a node stays bad
HELPER_CACHE = ".cache/data-helper-{uid}"  # AutoModel's data helper, compiled; below it a folder a version

# --- states of a job

PENDING, RUNNING = "PENDING", "RUNNING"
SUSPENDED = "SUSPENDED"  # it goes on when Slurm, or whoever has stopped its processes, lets it
UNKNOWN = "UNKNOWN"  # it could not be told; never that the job failed
COMPLETED, FAILED, CANCELLED, TIMEOUT = "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"
OUT_OF_MEMORY, NODE_FAIL, PREEMPTED = "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED"
REQUEUED = "REQUEUED"  # of an attempt, never of a job: the same Slurm job has started again

ENDED = frozenset({COMPLETED, FAILED, CANCELLED, TIMEOUT, OUT_OF_MEMORY, NODE_FAIL, PREEMPTED})
ENDED_FOR_GOOD = frozenset({COMPLETED, FAILED, CANCELLED, TIMEOUT, OUT_OF_MEMORY})  # Slurm may requeue the others
ENDED_FROM_OUTSIDE = frozenset({TIMEOUT, NODE_FAIL, PREEMPTED, CANCELLED})

# What a reader is told of a state where the job itself left no better words.
MEANINGS = {
    TIMEOUT: "the time limit was reached",
    OUT_OF_MEMORY: "the job's memory limit was reached",
    NODE_FAIL: "a node failed",
    CANCELLED: "the job was cancelled",
    PREEMPTED: "a job of higher priority took its nodes",
    REQUEUED: "it was requeued",
    FAILED: "the batch script failed",
}
OUT_OF_BUDGET = "the GPU-hours that its profile allows were used up (max_gpu_hours)"  # `error` of such a TIMEOUT

# --- Slurm's states, as squeue, scontrol and sacct print them

SLURM_WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
SLURM_ACTIVE = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"})
SLURM_SUSPENDED = frozenset({"SUSPENDED", "STOPPED"})
SLURM_FAILURES = {
    "FAILED": FAILED,
    "BOOT_FAIL": NODE_FAIL,
    "NODE_FAIL": NODE_FAIL,
    "TIMEOUT": TIMEOUT,
    "DEADLINE": TIMEOUT,
    "OUT_OF_MEMORY": OUT_OF_MEMORY,
    "CANCELLED": CANCELLED,
    "REVOKED": CANCELLED,
    "PREEMPTED": PREEMPTED,
}
# What Slurm's database may hold of a former attempt, while slurmctld has the job in its queue again.
SLURM_BEFORE_REQUEUE = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REQUEUED"})

# --- exit.json

SCHEMA = 1  # of exit.json and nodes/*.json
EXIT_KEYS = (
    *("schema", "job_id", "attempt", "complete", "state", "code", "signal", "rank", "node", "error", "traceback"),
    *("log", "started", "ended", "step", "nodes", "known"),
)
EXIT_CHAIN_KEYS = ("goes_on", "why")  # only of a job that may have several attempts
OWN_SCANCEL = "own_scancel"  # true where a keeper took the job out of the queue, with its batch script lost
STATUS_KEYS = ("code", "error", "rank", "node", "step", "log", "signal", "started", "ended")  # beside `state`

NO_PYTHON = "no Python"  # how `error` begins where node_agent.sh has found none that can run the agent
NO_AGENT = "never started its agent"  # part of `error` where a node has left nothing

# --- nodes/N.json

NODE_KEYS = (
    *("schema", "job_id", "node", "nnodes", "attempt", "host", "agent_pid", "agent_start", "started", "state"),
    *("time", "ranks", "step", "first_step", "save_s", "stop", "secrets_file", "code", "failure", "records"),
    *("phase", "phase_since", "active", "touched", "log_starts", "oom_kills", "finished", "machine", "noticed"),
)
# `agent_start` is in clock ticks since boot; where there is no /proc (macOS), what `ps` says, in one language and time
# zone. POSIX: the words after a field's `=` are its title, so each field has a -o of its own.
PS_START = ("ps", "-o", "stat=", "-o", "lstart=", "-p")
PS_ENVIRON = {"LC_ALL": "C", "TZ": "UTC0"}
# `machine` is the start of the kernel and the namespace in which pids count, null where there is no /proc: a host may
# be given another name while a job runs there
_BOOT_ID, _PID_NAMESPACE = "/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"
NODE_STARTING, NODE_STARTUP, NODE_RUNNING, NODE_ENDED = "starting", "startup", "running", "ended"  # `state`, in order
STOP_KEYS = ("signal", "number", "time", "reason")  # of `stop`
NOTICED_KEYS = ("time", "stopped")  # of `noticed`: a failure, and whether another node had heard of a stop by then
FAILURE_KEYS = ("code", "error", "time", "traceback", "victim")  # of `failure`
RANK_KEYS = (  # of each of `records`
    *("rank", "local_rank", "host", "pid", "pid_start", "worker", "worker_start", "started", "ended", "code"),
    *("signal", "error", "traceback", "failed", "told_to_end", "known", "evidence"),
)

# `phase`: what the node is at before the first step, and later what its ranks do instead of steps, else null
PHASE_STARTUP = "running the startup commands"
PHASE_LAUNCHER = "starting the ranks"
PHASE_VALIDATION = "validation"  # these two as the ranks tell them; everything else before the first step is start-up
PHASE_SAVING = "saving a checkpoint"
STOPPED_BY = "stopped: "  # how `error` begins where a stop file has ended the job; its path follows

# Reasons of a stop; that of a stop file is its path.
STOP_BY_SIGNAL = "signal"
STOP_BY_PARENT = "the process that started the job is gone"
STOP_BY_TIME_LIMIT = "time limit"
STOP_BY_BUDGET = "max_gpu_hours"
STOP_BY_WARNING = "SIGUSR1, which `signal` asks Slurm for before the time limit"


def ended_before_it_began(job_id: str, why: str, now: float) -> dict[str, Any]:
    """exit.json of a job that waited for another one and was withdrawn, by an agent of that or by a launcher."""
    told = {"schema": SCHEMA, "job_id": job_id, "attempt": 0, "complete": True, "state": CANCELLED}
    told.update({"code": TERMINATED, "error": why, "ended": now, "nodes": [], "goes_on": False, "why": why})
    return {**dict.fromkeys(EXIT_KEYS), **told}


def none_completed(sweep: str, run_names: list[str]) -> str:
    """Why a job that takes any point of a sweep is withdrawn; behind "it was to follow"."""
    more = f" and {len(run_names) - 3} more" if len(run_names) > 3 else ""
    return f"any point of sweep {sweep}, and none has completed: {', '.join(run_names[:3])}{more}"


# --- history.jsonl: `event`, and the keys of each

HISTORY_BEGUN, HISTORY_ENDED, HISTORY_RESUMED = "begun", "ended", "resumed"
_BEGUN = ("event", "time", "job_id", "attempt", "slurm_id", "nodes", "checkpoint", "gpus", "allocated_s")
HISTORY_KEYS = {  # the last ones of a job with spares, or with ft_launcher
    HISTORY_BEGUN: (*_BEGUN, "spares", "replaces"),
    HISTORY_ENDED: (
        *(*_BEGUN[:5], "state", "code", "error", "rank", "node", "from_step", "to_step", "checkpoint", "save_s"),
        *("gpu_hours", "allocated_s", "goes_on", "why", "known", "cause", "replaced", "restarts"),
    ),
    HISTORY_RESUMED: _BEGUN[:4],
}

# --- phases.jsonl: node 0's phases that are over, `since` and `until` in unix seconds; `by`: who has seen it

PHASE_LINE_KEYS = ("attempt", "by", "phase", "since", "until")
BY_AGENT, BY_RANK, BY_LOG = "agent", "rank", "log"  # of a save BY_LOG: `until` is the next line of the training


def past_phases(phase_file: str) -> str:
    """Where the rank that tells its phase in this file appends those that are over."""
    return phase_file + ".past"


# --- events.jsonl: `state` of each line, in the order of a job's life; the first one is the launcher's

EVENT_SUBMITTED = "submitted"
EVENT_STARTED = "started"
EVENT_TRAINING = "training"  # the first step was logged
EVENT_RESTARTED = "restarted"  # ft_launcher has started a rank again
EVENT_HUNG, EVENT_STOPPING, EVENT_ENDED = "hung", "stopping", "ended"

# --- exit codes with a meaning

CANNOT_BE_USED = 2  # of a recipe: the command line or config cannot be used; of the agent: its order cannot
NO_CHECKPOINT = 3  # of a recipe: there are checkpoints, and none is complete
DATA_CHANGED = 4  # of the agent: the run began with other data
FINAL_CODES = {  # of a recipe or of the agent, with which every further attempt would end too
    CANNOT_BE_USED: "the command or its configuration cannot be used",
    NO_CHECKPOINT: "no checkpoint is complete",
    DATA_CHANGED: "the run began with other data",
}

HUNG, NOT_FOUND = 124, 127  # as timeout(1) and as a shell end
SIGNALLED = 128  # plus the signal's number
INTERRUPTED, TERMINATED = 130, 143  # SIGINT; SIGTERM, and of a job that was stopped before it began

RUN_FINISHED = "the run is finished"  # `why` of an end after which nothing is left to do

# --- agent.json

AGENT_SCHEMA = 1
AGENT_KEYS = (
    *("schema", "job_id", "run_name", "job_dir", "run_dir", "code_dir", "python", "launch", "script", "args"),
    *("nnodes", "nproc_per_node", "rendezvous", "env", "setup_lines", "startup_commands", "secrets_file"),
    *("stop_grace_s", "heartbeat_s", "stop_with_parent", "stall_s"),
)
STALL_AUTO = "auto"  # of stall_s: told from the run itself
AGENT_OPTIONAL_KEYS = (
    *("workdir", "chain", "checkpoint_dir", "max_nan_steps", "backend", "agent_python", "data"),
    *("notify", "spares", "track", "venv_archive"),
)
AGENT_CHAIN_KEYS = ("jobs", "failures", "exclude")
MAX_GPU_HOURS, PLANNED_GPUS = "max_gpu_hours", "gpus"
AGENT_CHAIN_OPTIONAL_KEYS = (MAX_GPU_HOURS, PLANNED_GPUS)  # both or none
AGENT_DATA_KEYS = ("named", "allow", "caches")  # what data_identity.look() takes; a digest, or true; folders made of it
LAUNCHES = ("torchrun", "ft", "python")  # what starts the ranks
# what trains; without the key it is AutoModel
AUTOMODEL, MEGATRON_BRIDGE, DATA_PREP, NO_BACKEND = "automodel", "megatron-bridge", "data-prep", "none"
STEPLESS = (DATA_PREP, "conversion", "curation", "export-check", NO_BACKEND)
BACKENDS = (AUTOMODEL, MEGATRON_BRIDGE, *STEPLESS)

# --- variables of the job's environment

JOB_ID_VAR = "LAUNCH_JOB_ID"  # these four are there for every script and startup command
JOB_DIR_VAR = "LAUNCH_JOB_DIR"
RUN_NAME_VAR, RUN_DIR_VAR = "LAUNCH_RUN_NAME", "LAUNCH_RUN_DIR"
LAUNCHER_VAR = "LAUNCH_LAUNCHER"  # FT_LAUNCHER where ft_launcher has started the ranks
FT_LAUNCHER = "ft"
ATTEMPT_VAR = "LAUNCH_ATTEMPT"  # these are the starter's word to the agents
END_TIME_VAR = "LAUNCH_END_TIME"  # unix seconds, by the clock of the batch script's node
END_MONOTONIC_VAR = "LAUNCH_END_MONOTONIC"  # BOOT_ID:SECONDS of the same instant, by that machine's monotonic clock
END_OF_BUDGET_VAR = "LAUNCH_END_OF_BUDGET"  # set where max_gpu_hours is used up then
SAVE_S_VAR = "LAUNCH_SAVE_S"  # the longest save of an earlier attempt
RDZV_PORT_VAR = "LAUNCH_RDZV_PORT"  # where the planned port is taken
VENV_ARCHIVE_VAR = "LAUNCH_VENV_ARCHIVE"  # the copy of venv_archive on this node's disk, which sbcast has put there
VENV_COPY = "launch-venv-"  # how its name, and that of the folder to which it is unpacked, begins
VENV_VAR = "LAUNCH_VENV"  # for startup commands and ranks: that folder
NODE_RANK_VAR = "LAUNCH_NODE_RANK"
HEAD_HOST_VAR = "LAUNCH_HEAD_HOST"
IMAGE_ID_VAR = "LAUNCH_IMAGE_ID"  # what stands for the image's content, where its runtime tells it
WATCH_PID_VAR = "LAUNCH_WATCH_PID"  # the process whose end stops the job, where that is not the agent's parent
AGENT_DIR_VAR = "LAUNCH_AGENT_DIR"  # from an agent to its ranks: its private directory
PHASE_VAR = "LAUNCH_PHASE_FILE"  # for one rank a node: where it tells what it is at, as JSON with PHASE_KEYS
PHASE_KEYS = ("phase", "since")
PAST_PHASE_KEYS = ("phase", "since", "until")  # of a phase that is over, a line each, in past_phases(that file)
HIDDEN_VAR = "LAUNCH_HIDDEN"  # names of the profile's `secrets`, with commas: their values are written down nowhere

# --- checkpoints

CHECKPOINT = re.compile(r"epoch_\d+_step_(\d+)")  # of AutoModel 0.7.0, its directory's name in full; S counts from 0
CHECKPOINT_STEP = re.compile(r"step_(\d+)$")  # how AutoModel itself searches for them
INCOMPLETE = ".incomplete"  # inside, from the start of the save to its end
LATEST = "LATEST"  # beside them: a link to the one to resume from, or LATEST.txt

MEGATRON_CHECKPOINT = re.compile(r"iter_(\d+)")  # of Megatron-Bridge 0.3.1, in full; iterations that are done
MEGATRON_LATEST = ("latest_train_state.pt", "latest_checkpointed_iteration.txt")  # beside them: by which one is found
MEGATRON_PARTS = (".metadata", "train_state.pt", "run_config.yaml")  # what a save leaves last, in this order


def checkpoint_step(name: str) -> int | None:
    """The step, from 0, in the name of a checkpoint's directory, None where it is not one."""
    automodels, megatrons = CHECKPOINT.fullmatch(name), MEGATRON_CHECKPOINT.fullmatch(name)
    if automodels:
        return int(automodels.group(1))
    return int(megatrons.group(1)) - 1 if megatrons else None


SAVE_MARKS = (INCOMPLETE, *MEGATRON_PARTS)  # names that is_saved looks for


def is_saved(name: str, content: Collection[str]) -> bool:
    """Whether the save of a checkpoint has come to its end; `content` are the names inside its directory."""
    if MEGATRON_CHECKPOINT.fullmatch(name):
        return all(part in content for part in MEGATRON_PARTS)
    return INCOMPLETE not in content
