"""environment.json: what a job ran with, for who compares it later, or wants the same again.

A process of its own beside the ranks, of their Python and with their environment: it delays no start, and whatever
becomes of it the job does not see. Node 0 writes the file. Every other node compares with it the names of what is
installed, which needs no file but that one, and leaves a file only where something is not the same.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Mapping

import contract

from . import redaction
from .files import Json, read_json, write_json

_WAITS_S = (1, 2, 4, 8, 16, 32, 64)  # of another node, for node 0's file
_COMPARED = ("python", "system", "kernel", "machine", "driver", "gpus", "nccl", "packages", "image", "image_id")
_CHEAP = ("python", "system", "kernel", "machine", "driver", "gpus", "listing")


def start(python: str, agent: str, place: str, node: int, attempt: int, environ: Mapping[bytes, bytes]) -> None:
    """Start it; what cannot be started is left out. The agent's loop reaps it."""
    import subprocess  # `record`, which is this module, too, does without

    command = [python, agent, "record", place, str(node), str(attempt)]
    if node == 0:  # the end of a job that ends at once is a SIGTERM, which may come before its Python has begun
        command = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh", *command]
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return
    process.returncode = 0


def main(job_dir: str, node: int, attempt: int) -> int:
    """The process itself."""
    redaction.arm_environment(os.environ)
    try:
        if node == 0:  # in a moment, of which a job that ends at once leaves little
            _write(job_dir, attempt)
        else:
            os.nice(10)
            _compare(job_dir, node, attempt)
    except OSError as error:
        print(f"environment.json: {error}", file=sys.stderr)
        return 1
    return 0


def _write(job_dir: str, attempt: int) -> None:
    from . import ran_with  # not for the agent, which only starts this process

    path = os.path.join(job_dir, contract.ENVIRONMENT)
    before = read_json(path)
    now = {**_known(job_dir, attempt), **ran_with.look()}
    now["earlier"] = _earlier(before, now) if before else []
    write_json(path, now)


def _known(job_dir: str, attempt: int) -> Json:
    plan = read_json(os.path.join(job_dir, contract.PLAN)) or {}
    told = {"job_id": plan.get("job_id"), "attempt": attempt, "time": time.time()}
    digest = os.environ.get(contract.IMAGE_ID_VAR, "")
    known = digest if re.fullmatch(r"[\w:]{12,100}", digest) else None
    return {"schema": 1, **told, "image": plan.get("container_image"), "image_id": known}


def _earlier(before: Json, now: Json) -> list[Json]:
    """What attempts before this one ran with, where that was something else."""
    found = before.get("earlier")
    kept = list(found) if isinstance(found, list) else []
    changed = differences(now, before)
    if changed and before.get("attempt") != now["attempt"]:
        kept.append({"attempt": before.get("attempt"), "time": before.get("time"), "had": changed})
    return kept


def _compare(job_dir: str, node: int, attempt: int) -> None:
    from . import ran_with

    first = _of_node_0(job_dir, attempt)
    cheap = {**ran_with.machine(), "listing": ran_with.listing()}
    if first is None or all(first.get(key) == cheap[key] for key in _CHEAP):
        return
    now = {**ran_with.look(), "image": first.get("image"), "image_id": first.get("image_id")}
    changed = differences(first, now)
    if changed:
        told = {"schema": 1, "node": node, "host": now["host"], "attempt": attempt, "has": changed}
        write_json(os.path.join(job_dir, contract.node_environment(node)), told)


def _of_node_0(job_dir: str, attempt: int) -> Json | None:
    for wait_s in (0, *_WAITS_S):
        time.sleep(wait_s)
        found = read_json(os.path.join(job_dir, contract.ENVIRONMENT))
        if found is not None and found.get("attempt") == attempt:
            return found
    return None


def differences(one: Json, other: Json) -> Json:
    """What `other` has that is not what `one` has; of its packages those only, with None for one that it lacks."""
    found: Json = {}
    for key in _COMPARED:
        mine, theirs = one.get(key), other.get(key)
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            names = sorted({*mine, *theirs})
            theirs = {name: theirs.get(name) for name in names if mine.get(name) != theirs.get(name)}
        found[key] = theirs
    return found
