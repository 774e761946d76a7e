"""The port at which the nodes of a job meet.

It is in the order, so that every node knows it. Where another process has it on the head node the batch script, which
runs there, tells the step of the next one that is free; an attempt that comes later looks again.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Mapping

import contract

from .files import read_json
from .log import complain
from .spec import Spec

_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a process could listen at it, as torch's store does."""
    import socket  # which most jobs need not ask: of one node, or not the first one

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an earlier attempt has left is no owner
            probe.bind(("", port))
            probe.listen(1)
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # torch will say what else is wrong
    return True


def exports(job_dir: str) -> list[str]:
    """On the head node, before the step: the shell line that names another port, where the planned one is taken."""
    spec = read_json(os.path.join(job_dir, contract.AGENT)) or {}
    meeting = spec.get("rendezvous") or {}
    port = meeting.get("port")
    if port is None or meeting.get("fixed") or spec.get("nnodes") == 1 or is_free(port):
        return []
    other = next((number for number in range(port + 1, port + _TRIES) if number < 65536 and is_free(number)), None)
    if other is None:  # the agent of this node says so
        return []
    complain(f"{taken(port, os.uname().nodename)}; this attempt's ranks meet at port {other}")
    return [f"export {contract.RDZV_PORT_VAR}={other}"]


def of(spec: Spec, environ: Mapping[str, str]) -> Spec:
    """The order with the port that the batch script has found."""
    told = environ.get(contract.RDZV_PORT_VAR, "")
    if spec.nnodes == 1 or spec.rendezvous.fixed or not told.isdigit():
        return spec
    return replace(spec, rendezvous=replace(spec.rendezvous, port=int(told)))


def taken(port: int, host: str) -> str:
    """Who cannot meet, and where."""
    return f"the rendezvous port {port} of {host} is taken by another process"
