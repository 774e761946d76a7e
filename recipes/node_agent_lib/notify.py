"""Who is told: once at a run's end, once when a training stands still; never once an attempt.

`notify` of agent.json names them: `mail:ADDRESS`, the URL of a hook, `env:NAME` or `slack:env:NAME`, where a variable
of the job holds a URL that is a secret. A file in RUN_DIR/notified/ that only one can make says that it is done, before
it is done: a killed agent, two of them, a requeued job tell nobody twice. A person's `resume` begins anew.

Another process sends (notify_send.py): a dead hook holds up the job's end for some seconds, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any, Callable, Mapping

import contract

from . import history, log, redaction, slurm
from .decision import Decision
from .files import Json, as_number, read_json
from .history import Ended

FINISHED, FAILED, STOPPED, HUNG = "finished", "failed", "stopped", "hung"  # `event` of the payload (docs/notify.md)
NOTIFIED = "notified"  # below the run's directory: an empty file for each thing that somebody was told of
WAIT_S = 10.0  # for the process that sends; it goes on by itself where nothing ends it
_AGENT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "node_agent.py")
_GOES_ON_ELSEWHERE = (contract.PREEMPTED, contract.NODE_FAIL, contract.REQUEUED)
_held: dict[str, str] = {}  # variables behind `env:`, of an agent whose file of secrets is gone when it tells


def hold(order: Json, environ: Mapping[str, str]) -> None:
    """Keep what `env:NAME` refers to: the environment that the training gets has it."""
    for name in _variables(order):
        if environ.get(name):
            _held[name] = environ[name]


def ended(
    job_dir: str, end: Ended, decision: Decision | None, result: Json, slurm_id: str, say: Callable[[str], None]
) -> None:
    """Tell of a job's end, unless another attempt follows, or Slurm may start it again."""
    if decision is not None and decision.goes_on:
        return
    if decision is None and end.state in _GOES_ON_ELSEWHERE:
        return
    order = _order(job_dir)
    if order is None:
        return
    event = {contract.COMPLETED: FINISHED, contract.CANCELLED: STOPPED}.get(end.state, FAILED)
    if event == FAILED and decision is not None and _is_finished(order):
        event = FINISHED
    known = result.get("known") or {}
    told = {
        "state": end.state,
        "attempt": end.attempt + 1,
        "step": end.to_step if end.to_step is not None else result.get("step"),
        "error": end.error,
        "cause": known.get("cause") if event == FAILED else None,
        "todo": known.get("todo") if event == FAILED else None,
        "why": decision.why if decision else None,
        "host": result.get("node"),
    }
    _tell(order, "end", event, told, slurm_id, say)


def hung(job_dir: str, attempt: int, step: int | None, error: str, host: str, say: Callable[[str], None]) -> None:
    """Tell that the training stands still and is ended now; a chain goes on after that."""
    order = _order(job_dir)
    if order is not None:
        told = {"state": contract.RUNNING, "attempt": attempt + 1, "step": step, "error": error, "host": host}
        _tell(order, HUNG, HUNG, told, slurm.own_id(), say)


def _order(job_dir: str) -> Json | None:
    order = read_json(os.path.join(job_dir, contract.AGENT))
    return order if order and order.get("notify") else None


def _is_finished(order: Json) -> bool:
    return os.path.exists(os.path.join(order["run_dir"], contract.FINISHED))


def _tell(order: Json, kind: str, event: str, told: Json, slurm_id: str, say: Callable[[str], None]) -> None:
    try:
        if not _is_first(order, kind):
            return
    except OSError as error:  # better nobody is told than everybody again and again
        say(f"nobody is told of the {kind}: {error}")
        return
    values = {
        **_of_file(order),
        **{name: os.environ[name] for name in _variables(order) if name in os.environ},
        **_held,
    }
    redaction.arm(values[name] for name in _variables(order) if values.get(name))
    payload = redaction.record({**_payload(order, event), **told})
    targets, lacking = [], []
    for entry in order["notify"]:
        before, _, name = entry.rpartition("env:")
        if not name or entry == name:
            targets.append(entry)
        elif values.get(name):
            targets.append(before + values[name])
        else:
            lacking.append(name)
    for name in lacking:
        say(f"notify: {name} is not set here")
    _send({"targets": targets, "payload": payload, "slurm_id": slurm_id}, say)


def _payload(order: Json, event: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "event": event,
        "run": order.get("run_name"),
        "job": order["job_id"],
        "time": time.time(),
        "loss": _last_loss(os.path.join(_job_dir(order), contract.METRICS)),
        "look": f"python launch.py status {order['job_id']}",
        "directory": _job_dir(order),
    }


def _job_dir(order: Json) -> str:
    return str(order.get("job_dir") or "")


def _last_loss(path: str) -> float | None:
    for line in reversed(log.tail(path)):
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            loss = as_number(entry.get("loss")) if isinstance(entry, dict) else None
            if loss is not None:
                return loss
    return None


def _is_first(order: Json, kind: str) -> bool:
    """Whether nobody has told of it since a person last resumed the job; from now on somebody has."""
    events = history.read(order["run_dir"])
    mine = [entry for entry in events if entry.get("job_id") == order["job_id"]]
    resumed = sum(entry.get("event") == contract.HISTORY_RESUMED for entry in mine)
    folder = os.path.join(order["run_dir"], NOTIFIED)
    os.makedirs(folder, exist_ok=True)
    try:
        os.close(os.open(os.path.join(folder, f"{order['job_id']}-{resumed}-{kind}"), os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def _variables(order: Json) -> list[str]:
    return [entry.rpartition("env:")[2] for entry in order.get("notify") or () if "env:" in entry]


def _of_file(order: Json) -> dict[str, str]:
    """The job's secrets, while their file is there."""
    wanted = set(_variables(order))
    try:
        with open(order.get("secrets_file") or "", encoding="utf-8", errors="surrogateescape") as file:
            pairs = (word.partition("=") for word in shlex.split(file.read()))
            return {name: value for name, _, value in pairs if name in wanted}
    except (OSError, ValueError):
        return {}


def _send(request: dict[str, Any], say: Callable[[str], None]) -> None:
    """The request goes through a pipe: no URL stands in a list of processes."""
    if not request["targets"]:
        return
    command = [sys.executable, _AGENT, "notify"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        said, _ = process.communicate(json.dumps(request).encode(), timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        say(f"notify: no answer for {WAIT_S:.0f} s")
        return
    except OSError as error:
        say(f"notify: {error}")
        return
    for line in said.decode("utf-8", "replace").splitlines():
        say(f"notify: {line}")
