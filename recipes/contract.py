"""What the launcher and the job must agree on, said once: names of files, keys, states, exit codes, variables.

It travels with the job as recipes/contract.py; the launcher imports the same file as automodel_launch.contract (a
symbolic link). Only the standard library, and Python 3.8: the node agent imports it before anything is set up.

Names of files are relative to their directory, with `/`, so that they fit paths here and on a cluster alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

OLDEST_PYTHON = (3, 8)  # of the node agent, wherever it runs

# --- the job's directory: JOB_ROOT/JOB_ID/

PLAN = "plan.json"  # the plan, with its hash; written by the launcher, as the next four are
SCRIPT = "script"  # what was submitted, and is submitted again
CONFIG = "config.yaml"  # the resolved training config
AGENT = "agent.json"  # the launcher's order to the node agents
SECRETS = "secrets.env"  # NAME=VALUE lines that only the owner can read; removed at the end
GIT_COMMIT = "git/commit"  # the commit behind the code
GIT_DIFF = "git/diff.patch"  # and what was not committed, where there was anything
CODE = "code"  # what travelled
RECIPES = "code/recipes"
NODE_AGENT = "code/recipes/node_agent.py"
LOGS = "logs"
NODES = "nodes"
METRICS = "metrics.jsonl"  # one object a training step or validation
EVENTS = "events.jsonl"  # one object a change of state
EXIT = "exit.json"  # how the job ended, written by itself
CHAIN = "chain"  # one line "NOW NEXT ATTEMPT": Slurm ids (NEXT may be "-") and the attempt's number, from 0
STOP = "stop"  # an empty file that ends the job; in the run's directory it ends every job of the run
RESERVE = ".reserve"  # bytes that an attempt holds for its own records on a full disk
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


def failed_marker(attempt: int) -> str:
    """Tells the agents of an attempt that one of them has failed."""
    return f"{NODES}/failed-{attempt}"


def hung_marker(attempt: int) -> str:
    """Tells the agents of an attempt that the training hangs."""
    return f"{NODES}/hung-{attempt}"


def former_exit(attempt: int) -> str:
    """Where the exit.json of an attempt goes when the job runs again."""
    return f"exit-{attempt}.json"


def gpu_check_file(node: int) -> str:
    """What gpu-check has found on a node."""
    return f"{GPU_CHECK}/node-{node}.json"


# --- the run's directory

RUN = "run.json"  # what the run trains, and with how many processes
DATA = "data.json"  # the data that the run trains on, as its first job found them (data_identity.py)
FINISHED = "finished.json"  # written by the recipe when the run has reached its end, and only then
HISTORY = "history.jsonl"  # the beginning and the end of every attempt
LOCK = "lock"  # held by node 0's agent; holds the job's id

RUN_KEYS = ("trained", "world_size")
DATA_KEYS = ("digest", "rows", "time", "job_id", "before")  # `before`: digests of data that it trained on earlier
FINISHED_KEYS = ("step", "max_steps", "checkpoint", "hf", "time")

# --- the job root

BAD_NODES = "bad-nodes.jsonl"  # a line a failure; the last line of a node counts
BAD_NODE_KEYS = ("time", "node", "why", "job_id", "forgiven")
BAD_NODE_S = 24 * 3600.0  # how long a node stays bad
HELPER_CACHE = ".cache/data-helper-{uid}"  # AutoModel's data helper, compiled; below it a folder a version

# --- states of a job

PENDING = "PENDING"
RUNNING = "RUNNING"
UNKNOWN = "UNKNOWN"  # it could not be told; never that the job failed
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TIMEOUT = "TIMEOUT"
OUT_OF_MEMORY = "OUT_OF_MEMORY"
NODE_FAIL = "NODE_FAIL"
PREEMPTED = "PREEMPTED"
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

# --- Slurm's states, as squeue, scontrol and sacct print them

SLURM_WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
SLURM_ACTIVE = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"},
)
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

EXIT_KEYS = (
    *("schema", "job_id", "attempt", "complete", "state", "code", "signal", "rank", "node", "error", "traceback"),
    *("log", "started", "ended", "step", "nodes"),
)
EXIT_CHAIN_KEYS = ("goes_on", "why")  # only of a job that may have several attempts
STATUS_KEYS = ("code", "error", "rank", "node", "step", "log", "signal", "started", "ended")
"""Of exit.json, what a job's status is made of, beside `state`."""

NO_AGENT = "never started its agent"  # part of `error` where a node has left nothing

# --- nodes/N.json

NODE_KEYS = (
    *("schema", "job_id", "node", "nnodes", "attempt", "host", "agent_pid", "agent_start", "started", "state"),
    *("time", "ranks", "step", "first_step", "save_s", "stop", "secrets_file", "code", "failure", "records"),
    *("phase", "phase_since", "active"),
)
NODE_STARTING, NODE_STARTUP, NODE_RUNNING, NODE_ENDED = "starting", "startup", "running", "ended"  # `state`, in order
STOP_KEYS = ("signal", "number", "time", "reason")  # of `stop`
FAILURE_KEYS = ("code", "error", "time", "traceback", "victim")  # of `failure`
RANK_KEYS = (  # of each of `records`
    *("rank", "local_rank", "host", "pid", "pid_start", "worker", "worker_start", "started", "ended", "code"),
    *("signal", "error", "traceback", "failed", "told_to_end"),
)

# `phase`: what the node is at before the first step, and later what its ranks do instead of steps, else null
PHASE_STARTUP = "running the startup commands"
PHASE_LAUNCHER = "starting the ranks"

# Reasons of a stop; that of a stop file is its path.
STOP_BY_SIGNAL = "signal"
STOP_BY_PARENT = "the process that started the job is gone"
STOP_BY_TIME_LIMIT = "time limit"

# --- history.jsonl: `event`, and the keys of each

HISTORY_BEGUN, HISTORY_ENDED, HISTORY_RESUMED = "begun", "ended", "resumed"
HISTORY_KEYS = {
    HISTORY_BEGUN: ("event", "time", "job_id", "attempt", "slurm_id", "nodes", "checkpoint"),
    HISTORY_ENDED: (
        *("event", "time", "job_id", "attempt", "slurm_id", "state", "code", "error", "rank", "node", "from_step"),
        *("to_step", "checkpoint", "save_s", "goes_on", "why"),
    ),
    HISTORY_RESUMED: ("event", "time", "job_id", "attempt"),
}

# --- events.jsonl: `state` of each line, in the order of a job's life; the first one is the launcher's

EVENT_SUBMITTED = "submitted"
EVENT_STARTED = "started"
EVENT_TRAINING = "training"  # the first step was logged
EVENT_RESTARTED = "restarted"  # ft_launcher has started a rank again
EVENT_HUNG = "hung"
EVENT_STOPPING = "stopping"
EVENT_ENDED = "ended"

# --- exit codes with a meaning

CANNOT_BE_USED = 2  # of a recipe: the command line or config cannot be used; of the agent: its order cannot
NO_CHECKPOINT = 3  # of a recipe: there are checkpoints, and none is complete
DATA_CHANGED = 4  # of the agent: the run began with other data
FINAL_CODES = {
    CANNOT_BE_USED: "the command or its configuration cannot be used",
    NO_CHECKPOINT: "no checkpoint is complete",
    DATA_CHANGED: "the run began with other data",
}
"""Codes of a recipe or of the agent with which every further attempt would end too."""

HUNG = 124  # as timeout(1) ends
NOT_FOUND = 127  # as a shell ends
SIGNALLED = 128  # plus the signal's number
INTERRUPTED = 130  # SIGINT
TERMINATED = 143  # SIGTERM, and of a job that was stopped before it began

# --- agent.json

AGENT_SCHEMA = 1
AGENT_KEYS = (
    *("schema", "job_id", "run_name", "job_dir", "run_dir", "code_dir", "python", "launch", "script", "args"),
    *("nnodes", "nproc_per_node", "rendezvous", "env", "setup_lines", "startup_commands", "secrets_file"),
    *("stop_grace_s", "heartbeat_s", "stop_with_parent", "stall_s"),
)
STALL_AUTO = "auto"  # of stall_s: told from the run itself
AGENT_OPTIONAL_KEYS = ("workdir", "chain", "checkpoint_dir", "max_nan_steps", "backend", "data")
AGENT_CHAIN_KEYS = ("jobs", "failures", "exclude")
AGENT_DATA_KEYS = ("named", "allow", "caches")  # what data_identity.look() takes; a digest, or true; folders made of it
LAUNCHES = ("torchrun", "ft", "python")  # what starts the ranks
AUTOMODEL, NO_BACKEND = "automodel", "none"  # what trains; without the key it is AutoModel
BACKENDS = (AUTOMODEL, NO_BACKEND)

# --- variables of the job's environment

JOB_ID_VAR = "LAUNCH_JOB_ID"  # these four are there for every script and startup command
JOB_DIR_VAR = "LAUNCH_JOB_DIR"
RUN_NAME_VAR = "LAUNCH_RUN_NAME"
RUN_DIR_VAR = "LAUNCH_RUN_DIR"
LAUNCHER_VAR = "LAUNCH_LAUNCHER"  # FT_LAUNCHER where ft_launcher has started the ranks
FT_LAUNCHER = "ft"
ATTEMPT_VAR = "LAUNCH_ATTEMPT"  # these are the starter's word to the agents
END_TIME_VAR = "LAUNCH_END_TIME"  # unix seconds
SAVE_S_VAR = "LAUNCH_SAVE_S"  # the longest save of an earlier attempt
NODE_RANK_VAR = "LAUNCH_NODE_RANK"
HEAD_HOST_VAR = "LAUNCH_HEAD_HOST"
WATCH_PID_VAR = "LAUNCH_WATCH_PID"  # the process whose end stops the job, where that is not the agent's parent
AGENT_DIR_VAR = "LAUNCH_AGENT_DIR"  # from an agent to its ranks: its private directory
PHASE_VAR = "LAUNCH_PHASE_FILE"  # for one rank a node: where it tells what it is at, as JSON with PHASE_KEYS
PHASE_KEYS = ("phase", "since")
HIDDEN_VAR = "LAUNCH_HIDDEN"  # names of the profile's `secrets`, with commas: their values are written down nowhere

# --- secrets: whose name says so, and which values are kept out of what is written

_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_ENDINGS = "PROD DEV TEST STAGING RO RW B64 BASE64 VALUE OLD NEW DEFAULT PRIMARY SECONDARY"
_SWITCHES = "DISABLE ENABLE USE SKIP ALLOW REQUIRE IGNORE IMPLICIT"
# `TOKEN_FILE`, `PASSWORD_POLICY`: a last word which says that it is about a secret, and is none.
_ABOUT = (
    "ID IDS IDX INDEX PATH PATHS FILE FILES FILENAME DIR FOLDER NAME NAMES LEN LENGTH COUNT SIZE TYPE TTL AGE EXPIRY"
    " EXPIRES EXPIRATION LIMIT POLICY MODE ENABLED DISABLED REQUIRED CMD COMMAND HELPER SOCK SOCKET PROVIDER STORE"
    " BACKEND ENDPOINT HOST PORT USER USERNAME REGION VERSION ALGORITHM ALG FORMAT PREFIX SUFFIX HEADER RATE BUDGET"
    " DROP DROPOUT EMBEDDING DIM WEIGHT LOSS CLASS MODULE PLUGIN TIMEOUT RETRIES INTERVAL SECONDS THROUGH LOCATION"
    " CACHE URL URI ARN PROMPT HINT RULES CHECK SCOPE SCOPES AUDIENCE ISSUER STRATEGY"
)
_SECRET_WORD = re.compile(
    r"SECRETS?|CREDENTIALS?|CREDS?|JWT|BEARER|\w*(PASSWORD|PASSWD|PASSPHRASE)|(SSH|DB|PG|MYSQL|USER|SMTP|LDAP|FTP)PASS"
    r"|\w*(API|ACCESS|AUTH|SSH|PRIV|PRIVATE|SECRET)KEY|\w*(AUTH|ACCESS)TOKEN"
)
_SECRET_PHRASE = re.compile(
    r"(^|_)((API|ACCESS|PRIVATE|SECRET)_KEYS?)(_|$)|(WEBHOOK_UR[LI]|CONN(ECTION)?_STR(ING)?|CONNSTR|SAS_URL)$"
)
_TOKENS = (  # of a vocabulary: EOS_TOKEN, MAX_TOKEN
    "MAX MIN NUM EOS BOS EOD EOT PAD PADDING UNK CLS SEP MASK SPECIAL STOP START END IMAGE VIDEO AUDIO PER NEXT TOTAL"
    " DROP DUMMY BEGIN FIRST LAST THINK VOCAB"
)
_KEYS = (  # of a data set, a table, a cache, or the open half of a pair: TEXT_KEY, SORT_KEY, PUBLIC_KEY
    "PUBLIC PUB HOST SORT CACHE PARTITION FOREIGN PRIMARY UNIQUE TEXT JSON DATA DATASET COLUMN LOSS METRIC GROUP INDEX"
    " TITLE IMAGE LABEL INPUT OUTPUT FEATURE OBJECT ROW DICT CONFIG STATE FIELD PROMPT TARGET MAP LOOKUP SHARD"
    " DOCUMENT ID NAME HOT MODEL BATCH SAMPLE CONTENT MESSAGE MESSAGES"
)
_PASSES = "SINGLE ONE TWO MULTI FIRST SECOND LAST FORWARD BACKWARD NUM RENDER LOW HIGH BAND"
_LASTS = {  # a secret's last word -> the words before it with which it is none
    **{"TOKEN": _TOKENS, "KEY": _KEYS, "PASS": _PASSES, "PWD": "OLD INIT ORIG START SINGULARITY APPTAINER"},
    **{"PAT": "FILE GLOB NAME REGEX PATH URL DATE MATCH", "AUTH": "TRACKING HAS"},  # MLFLOW_TRACKING_AUTH: a plugin
    **dict.fromkeys(("DSN", "COOKIE", "OTP", "WEBHOOK"), ""),
}


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value must not be shown: HF_TOKEN, PGPASSWORD; not MAX_TOKENS."""
    words = [word.upper() for word in _WORDS.split(name) if word]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _ENDINGS.split()):
        words.pop()
    if not words or not set(words).isdisjoint(_SWITCHES.split()) or "NO" in words[-3:-1]:
        return False
    joined, is_about = "_".join(words), words[-1] in _ABOUT.split()
    if _SECRET_PHRASE.search(joined) and (not is_about or joined.endswith(("_URL", "_URI", "ACCESS_KEY_ID"))):
        return True
    if is_about or joined == "GOOGLE_APPLICATION_CREDENTIALS":  # which is the path of a file
        return False
    if any(map(_SECRET_WORD.fullmatch, words)) or ("TOKEN" in words and set(words).isdisjoint(_TOKENS.split())):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    return last in _LASTS and (before != "" or last == "DSN") and before not in _LASTS[last].split()


SHORTEST_SECRET = 6  # shorter values stand in ordinary words
_PLAIN = "enabled disabled default required optional anonymous offline online"


def secret_values(environ: Mapping[str, str], named: Iterable[str] = ()) -> dict[str, str]:
    """The values that are kept out of what is written, by their names: of variables that say so, and of `named` ones.

    Left out is what is no secret whatever its variable is called: a short word, a small number, the path of a file.
    """
    chosen = frozenset(named)
    found = ((name, value) for name, value in environ.items() if name in chosen or is_secret_name(name))
    return {name: value for name, value in found if _worth_hiding(value)}


def _worth_hiding(value: str) -> bool:
    text = value.strip()
    if len(text) < SHORTEST_SECRET or text.lower() in _PLAIN.split() or (text.isdigit() and len(text) < 10):
        return False
    is_path = text.startswith(("/", "~/")) and "\0" not in text
    return not (is_path and os.path.exists(os.path.expanduser(text)))  # noqa: PTH110, PTH111 (Path's raise on odd ones)


URL_PASSWORD = re.compile(r"(://[^\s/?#:@'\"]*):([^\s/?#@'\"]+)@(?=[\w\[])")
"""A password inside a URL, scheme://user:PASSWORD@host: group 2."""

# --- checkpoints of AutoModel 0.7.0: epoch_E_step_S, where S counts from 0

CHECKPOINT = re.compile(r"epoch_\d+_step_(\d+)")  # the directory's name, to be matched in full
CHECKPOINT_STEP = re.compile(r"step_(\d+)$")  # how AutoModel itself searches for them
INCOMPLETE = ".incomplete"  # inside, from the start of the save to its end
LATEST = "LATEST"  # beside them: a link to the one to resume from, or LATEST.txt


def checkpoint_step(name: str) -> int | None:
    """The step in the name of a checkpoint's directory, None where it is not one."""
    match = CHECKPOINT.fullmatch(name)
    return int(match.group(1)) if match else None
