"""Asking Slurm about a job: squeue, then scontrol, then sacct, in one round trip; and what the answers mean together.

Many clusters have no sacct, slurmctld forgets a job some minutes after its end (MinJobAge), and either may not answer
for a while. So an answer is one of three: what Slurm says, "Slurm does not know the job", or "it could not be asked".
The last never means that a job has failed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from automodel_launch.jobs import Status

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
ACTIVE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
FAILURES = {
    "FAILED": "FAILED",
    "BOOT_FAIL": "NODE_FAIL",
    "NODE_FAIL": "NODE_FAIL",
    "TIMEOUT": "TIMEOUT",
    "DEADLINE": "TIMEOUT",
    "OUT_OF_MEMORY": "OUT_OF_MEMORY",
    "CANCELLED": "CANCELLED",
    "REVOKED": "CANCELLED",
    "PREEMPTED": "PREEMPTED",
}
# What a reader of a Slurm failure is told where the job itself left no better word.
MEANINGS = {
    "TIMEOUT": "the time limit was reached",
    "OUT_OF_MEMORY": "the job's memory limit was reached",
    "NODE_FAIL": "a node failed",
    "CANCELLED": "the job was cancelled",
    "PREEMPTED": "a job of higher priority took its nodes",
    "FAILED": "the batch script failed",
}
_UNKNOWN_JOB = re.compile(r"invalid job id", re.I)


@dataclass(frozen=True)
class Answer:
    """What Slurm said of a job. `state` is None where it does not know the job, `asked` False where it did not answer.

    `reason` is Slurm's own word for waiting, `start` its estimate (a time, or None), `code` the batch script's.
    """

    asked: bool
    state: str | None = None
    reason: str | None = None
    start: str | None = None
    nodes: str | None = None
    code: int | None = None
    signal: int | None = None


def query(slurm_id: str) -> str:
    """Bash lines that print what `parse` reads. Later ones run only where earlier ones know nothing."""
    job = shlex.quote(slurm_id)
    return f"""
out=$(timeout 10 squeue -h -j {job} -o '%T|%r|%S|%N' 2>&1); code=$?
printf 'squeue %s %s\\n' "$code" "$(printf %s "$out" | head -n 1)"
case "$code:$out" in 0:?*) ;; *)
  out=$(timeout 10 scontrol -o show job {job} 2>&1); code=$?
  printf 'scontrol %s %s\\n' "$code" "$(printf %s "$out" | head -n 1)"
  case "$code" in 0) ;; *)
    out=$(timeout 10 sacct -n -X -P -D -j {job} -o State,ExitCode,NodeList 2>&1); code=$?
    printf 'sacct %s %s\\n' "$code" "$(printf %s "$out" | tail -n 1)";;
  esac;;
esac
"""


def parse(text: str) -> Answer:
    """Read the output of `query`."""
    knows_not = False
    for line in text.splitlines():
        source, _, rest = line.partition(" ")
        code, _, said = rest.partition(" ")
        if source == "squeue" and code == "0" and said:
            state, reason, start, nodes = (*said.split("|"), "", "", "")[:4]
            return Answer(True, state, _known(reason), _time(start), nodes or None)
        if source == "scontrol" and code == "0" and "JobState=" in said:
            return _scontrol(said)
        if source == "sacct" and code == "0" and said:
            return _sacct(said)
        knows_not = knows_not or bool(_UNKNOWN_JOB.search(said)) or (source == "squeue" and code == "0")
    return Answer(asked=knows_not)


def _scontrol(said: str) -> Answer:
    fields = dict(word.partition("=")[::2] for word in said.split() if "=" in word)
    code, signal = _exit(fields.get("ExitCode", ""))
    return Answer(
        True,
        fields["JobState"],
        _known(fields.get("Reason", "")),
        _time(fields.get("StartTime", "")),
        fields.get("NodeList"),
        code,
        signal,
    )


def _sacct(said: str) -> Answer:
    state, exit_code, nodes = (*said.split("|"), "", "")[:3]
    code, signal = _exit(exit_code)
    return Answer(True, state.split()[0] if state else None, None, None, nodes or None, code, signal)


def _exit(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else (None, None)


def _known(text: str) -> str | None:
    return text if text and text not in ("None", "(null)", "N/A") else None


def _time(text: str) -> str | None:
    return text if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) else None


def judge(answer: Answer, exit_record: dict[str, Any] | None, node: dict[str, Any] | None) -> Status:
    """The job's state from what Slurm says and what the job has written itself (exit.json, a node's heartbeat).

    Slurm decides whether the job is over and why it was ended from outside; the job's own record gives the true exit
    code, rank and error. Where Slurm knows nothing, the record decides; without one the state is UNKNOWN.
    """
    step = node.get("step") if node else None
    state = answer.state
    if state in WAITING:
        estimate = f", estimated start {answer.start}" if answer.start else ""
        return Status("PENDING", error=f"{answer.reason or state.lower()}{estimate}", step=step)
    if state in ACTIVE:
        return Status("RUNNING", step=step, node=answer.nodes, started=node.get("time") if node else None)
    record = exit_record or {}
    keys = ("code", "error", "rank", "node", "step", "log", "signal", "started", "ended")
    told: dict[str, Any] = {key: record.get(key) for key in keys}
    told["step"] = step if told["step"] is None else told["step"]
    if state is None:
        if record:
            return Status(record["state"], **told)
        said = "Slurm no longer knows the job, and it left no record" if answer.asked else "Slurm does not answer"
        return Status("UNKNOWN", error=said, step=step, forgotten=answer.asked)
    if state == "COMPLETED":
        if record.get("state") == "COMPLETED":
            return Status("COMPLETED", **told)
        if record:
            return Status(record["state"], **told)
        return Status(
            "FAILED", code=1, error="Slurm calls it completed, but the job left no record of its end", step=step
        )
    return _failed(FAILURES.get(state, "FAILED"), answer, record, told)


def _failed(state: str, answer: Answer, record: dict[str, Any], told: dict[str, Any]) -> Status:
    """Slurm's reason wins over the job's own reaction to it; a failure of the job's own keeps its words."""
    own_failure = record.get("state") == "FAILED"
    if state == "FAILED" and record:
        state = record["state"] if record["state"] != "COMPLETED" else "FAILED"
        if own_failure and _is_memory(told.get("error")):
            state = "OUT_OF_MEMORY"
    if not told.get("error") or (state not in ("FAILED", "OUT_OF_MEMORY") and not own_failure):
        told["error"] = MEANINGS.get(state)
    if not told.get("code"):
        told["code"] = answer.code or (128 + answer.signal if answer.signal else 1)
    return Status(state, **told)


def _is_memory(error: Any) -> bool:
    return isinstance(error, str) and "oom-kill" in error.lower()
