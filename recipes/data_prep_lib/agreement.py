"""All nodes of a job have one plan: the first one writes its own down, the others compare, or the run ends.

Nodes that see other input (a file's time that NFS shows late, a file system that is mounted on some of them only) would
make another output each, and wait for one another. What NFS shows late it shows within a minute, so a node looks again
for a while before it gives up.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from data_prep_lib import identity
from data_prep_lib.claims import NO_LOCKS
from data_prep_lib.config import Config
from data_prep_lib.errors import InputError
from data_prep_lib.hashes import fingerprint
from data_prep_lib.job import Job, plan
from data_prep_lib.nodes import Node
from data_prep_lib.safe_files import read_json, write_json

PATIENCE = 90.0  # seconds; NFS keeps what it knows of a file for up to 60 (acregmax)
_AGAIN = 5.0


@contextmanager
def agreed(
    config: Config,
    node: Node,
    say: Callable[[str], None],
    patience: float = PATIENCE,
    make: Callable[[Config], Job] = plan,
) -> Iterator[Job]:
    """The plan that this node shares with the others, for as long as it works.

    Raises:
        InputError: this node sees other input than the first one.
    """
    job = make(config)
    if node.alone:
        yield job
        return
    path = config.output_dir / ".inputs" / f"plan-{_key(config)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "a+b") as file:
        try:
            if _is_first(file):
                write_json(path, job.identity)
            fcntl.flock(file, fcntl.LOCK_SH)  # others see that the plan is in use
        except OSError as e:
            if e.errno not in NO_LOCKS:
                raise
            say(f"{path.parent}: this file system has no locks; whether all nodes see the same input is not compared")
            yield job
            return
        yield _compared(
            job, path_content=lambda: read_json(path), again=lambda: make(config), patience=patience, say=say
        )


def _is_first(file: IO[bytes]) -> bool:
    """No other node works by this plan now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _compared(
    job: Job, path_content: Callable[[], Any], again: Callable[[], Job], patience: float, say: Callable[[str], None]
) -> Job:
    end, told = time.monotonic() + patience, False
    while True:
        theirs, mine = path_content(), json.loads(json.dumps(job.identity))
        if theirs == mine:
            return job
        if time.monotonic() >= end:
            raise InputError(_difference(theirs, mine, job))
        if not told:
            say("this node sees other input than the first one; it looks again for a while")
            told = True
        time.sleep(_AGAIN)
        job = again()


def _key(config: Config) -> str:
    """Nodes of one job have one configuration, but for what follows from the machine."""
    same = dataclasses.asdict(dataclasses.replace(config, workers=1, part=None))
    return fingerprint(json.loads(json.dumps(same, default=str)))[:12]


def _difference(theirs: Any, mine: dict[str, Any], job: Job) -> str:
    fix = "see to it that all nodes see the same files (a mount, a cache), and run the same command again"
    for source in job.sources:
        name = source.dataset.name
        there, here = (_files(one, name) for one in (theirs, mine))
        for file in sorted({*there, *here}):
            if there.get(file) != here.get(file):
                seen = f"{_seen(there.get(file))} on the first node, {_seen(here.get(file))} here"
                return f"dataset {name!r}: {file} is not the same on all nodes: {seen}\n  {fix}"
    keys = ", ".join(identity.changes(theirs, mine)) or "its plan"
    return f"this node has other {keys} than the first one\n  {fix}"


def _files(described: Any, dataset: str) -> dict[str, tuple[int, int | str]]:
    try:
        return {name: (size, mtime) for name, size, mtime in described["datasets"][dataset]["files"]}
    except (KeyError, TypeError, ValueError):
        return {}


def _seen(state: tuple[int, int | str] | None) -> str:
    if state is None:
        return "not there"
    if isinstance(state[1], str):  # an object in a store
        return f"{state[0]} bytes, version {state[1]}"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state[1] // 10**9))
    return f"{state[0]} bytes of {when}.{state[1] % 10**9:09d}"
