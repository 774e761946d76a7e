"""Which node of the job this is, and which one is the head. A starter's own LAUNCH_* variables go before Slurm's."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from typing import Iterator, Mapping

import contract

from .spec import SpecError


def node_rank(nnodes: int, environ: Mapping[str, str]) -> int:
    """This node's rank. A job of one node is always rank 0, also when it is started by hand inside an allocation."""
    if nnodes == 1:
        return 0
    name = next((name for name in (contract.NODE_RANK_VAR, "SLURM_NODEID") if environ.get(name)), None)
    if name is None:
        raise SpecError(f"nnodes is {nnodes}, but neither {contract.NODE_RANK_VAR} nor SLURM_NODEID is set")
    value = environ[name]
    if not value.isdigit() or int(value) >= nnodes:
        raise SpecError(f"{name}={value!r} is not a node rank of a job of {nnodes} nodes")
    return int(value)


def host_name(environ: Mapping[str, str]) -> str:
    """The node as its users call it: Slurm's name for it where there is one."""
    return environ.get("SLURMD_NODENAME") or os.uname().nodename


def head_host(environ: Mapping[str, str]) -> str:
    """An address of the node of rank 0 that this node can resolve."""
    given = environ.get(contract.HEAD_HOST_VAR)
    if given:
        return given
    nodelist = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST")
    if not nodelist:
        raise SpecError(f"neither {contract.HEAD_HOST_VAR} nor SLURM_JOB_NODELIST is set: the head node is not known")
    # not by scontrol: a container that has it mostly lacks its slurm.conf, and it looks for that for 20 s
    return address(expand(nodelist)[0])


def address(name: str) -> str:
    """An address that this node can resolve, of one that Slurm calls by that name."""
    return name if _resolves(name) else _slurm_address(name) or name


def _slurm_address(name: str) -> str | None:
    match = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", name) or "")
    return match.group(1) if match else None


def _scontrol(*args: str) -> str | None:
    """What scontrol says, or None: containers mostly lack it."""
    try:
        done = subprocess.run(["scontrol", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None


def _resolves(name: str) -> bool:
    import socket  # a job of one node does without

    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def expand(nodelist: str) -> list[str]:
    """Slurm's short form to host names: `gpu[01-03,7],login` -> gpu01 gpu02 gpu03 gpu7 login."""
    return [host for part in re.findall(r"(?:\[[^\]]*\]|[^,\[])+", nodelist) for host in _expand_one(part)]


def _expand_one(part: str) -> Iterator[str]:
    pieces = re.findall(r"\[[^\]]*\]|[^\[]+", part)
    choices = [list(_numbers(piece[1:-1])) if piece.startswith("[") else [piece] for piece in pieces]
    return ("".join(choice) for choice in itertools.product(*choices))


def _numbers(ranges: str) -> Iterator[str]:
    for item in ranges.split(","):
        first, _, last = item.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))
