"""`run`: read the spec, then supervise here or in a process of its own."""

from __future__ import annotations

import os
import sys
from typing import Callable

import contract

from . import chain, meeting, nodes, procs, records, redaction, sharing, standing
from .control import Parent
from .log import AgentLog, complain
from .spec import Spec, SpecError, load
from .supervisor import Supervisor

_READY = b"ready"


def main(path: str, detach: bool, agent: str) -> int:
    """The `run` command. Detached, the exit code tells only whether the supervisor lives; the job's is in exit.json."""
    try:
        spec = meeting.of(load(path), os.environ)
        place = [os.path.dirname(os.path.abspath(path))] if os.path.basename(path) == contract.AGENT else []
        foreign = standing.refusal(spec.job_dir, *place)
        if foreign:
            raise SpecError(foreign)
        redaction.arm_environment({**os.environ, **spec.env})
        if spec.spares and contract.NODE_RANK_VAR not in os.environ:
            from . import keeper

            return keeper.main(spec, path, agent)
        node = nodes.node_rank(spec.nnodes, os.environ)
        _refuse_second(spec, node)
        parent = _parent() if spec.stop_with_parent else None
    except SpecError as error:
        complain(str(error))
        return contract.CANNOT_BE_USED
    sharing.follow(spec.run_dir)
    try:
        for name in (contract.LOGS, contract.NODES):
            os.makedirs(os.path.join(spec.job_dir, name), exist_ok=True)
        log = AgentLog(os.path.join(spec.job_dir, contract.agent_log(node)), node, echo=not detach)
    except OSError as error:
        complain(f"{spec.job_dir}: {error.strerror}")
        return 1

    def supervise(ready: Callable[[], None]) -> int:
        return Supervisor(spec, node, agent, log, parent).run(ready)

    return _detached(supervise, log) if detach else supervise(lambda: None)


def _refuse_second(spec: Spec, node: int) -> None:
    """Somebody has started the job once more by hand: a further agent would write its own end over the first one's."""
    other = records.agent_at_it(spec.job_dir, node, chain.attempt(os.environ), nodes.host_name(os.environ))
    if other is not None:
        raise SpecError(f"{spec.job_id} runs here already (node agent {other}); `launch.py status` tells how far it is")


def _parent() -> Parent:
    value = os.environ.get(contract.WATCH_PID_VAR, "")
    if value and not value.isdigit():
        raise SpecError(f"{contract.WATCH_PID_VAR}={value!r} is not a process id")
    pid = int(value) if value else os.getppid()
    return Parent(pid, procs.identity_of(pid))


def _detached(supervise: Callable[[Callable[[], None]], int], log: AgentLog) -> int:
    """Fork twice: out of the terminal's session, out of the starter's group, and nobody's child to wait for."""
    read, write = os.pipe()
    first = os.fork()
    if first > 0:
        os.close(write)
        os.waitpid(first, 0)
        return _await_ready(read)
    os.close(read)
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    _leave_terminal(log)
    return _supervise_reporting(supervise, write)


def _await_ready(read: int) -> int:
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    if answer == _READY:
        return 0
    complain("the supervisor did not start: " + (answer.decode("utf-8", "replace") or "it died"))
    return 1


def _leave_terminal(log: AgentLog) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.flush()
    os.dup2(log.fd, 1)
    os.dup2(log.fd, 2)


def _supervise_reporting(supervise: Callable[[Callable[[], None]], int], write: int) -> int:
    waiting: int | None = write

    def tell(answer: bytes) -> None:
        nonlocal waiting
        if waiting is not None:
            os.write(waiting, answer)
            os.close(waiting)
            waiting = None

    try:
        return supervise(lambda: tell(_READY))
    except BaseException as error:
        tell(f"{type(error).__name__}: {error}".encode())
        raise
