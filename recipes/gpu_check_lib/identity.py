"""Which node this is, of how many; from the environment that the node agent makes for one process a node."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import contract
from node_agent_lib.nodes import expand, host_name


@dataclass(frozen=True)
class Identity:
    """`hosts` are the names of all nodes in the order of their ranks, empty where nobody tells them."""

    node: int
    nodes: int
    host: str
    hosts: tuple[str, ...]
    job_dir: str
    master: str
    port: int | None


def of(environ: Mapping[str, str]) -> Identity:
    """Alone where the environment does not say otherwise."""
    port = environ.get("MASTER_PORT", "")
    nodelist = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    nodes = int(environ.get("WORLD_SIZE", "1"))
    hosts = tuple(expand(nodelist))
    return Identity(
        node=int(environ.get("RANK", "0")),
        nodes=nodes,
        host=host_name(environ),
        hosts=hosts if len(hosts) == nodes else (),
        job_dir=environ.get(contract.JOB_DIR_VAR) or os.curdir,
        master=environ.get("MASTER_ADDR", "127.0.0.1"),
        port=int(port) if port.isdigit() else None,
    )


def own_address(towards: str, port: int) -> str:
    """The address of this machine from which it reaches another one; nothing is sent."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(towards, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
