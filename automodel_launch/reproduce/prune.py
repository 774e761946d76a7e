"""What of old jobs and runs can go: code and logs of jobs that are over, and checkpoints that newer ones stand for.

What is small stays: plan, config, record of the end, versions, metrics. So ids are never given twice, and `jobs`,
`report` and `diff` tell of the job as before. Never the last complete checkpoints of a run, never anything of a run of
which a job runs, waits, or cannot be asked for, and nothing behind a link.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import records, rundir
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import claim
from automodel_launch.launch.checkpoints import listing, needed
from automodel_launch.launch.checkpoints.needed import Needs
from automodel_launch.remote import filesystem
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.reproduce import disk, shared_code

KEPT_OF_A_JOB = frozenset(
    (
        *(contract.PLAN, contract.CONFIG, contract.EXIT, contract.ENVIRONMENT, contract.METRICS, contract.EVENTS),
        *(contract.PHASES, contract.CHAIN, contract.RESUME, contract.AGENT, contract.NODES, "git"),
    )
)
_KEPT_NAMES = ("exit-", "environment-")
DEFAULT_KEEP = 2  # the newest may turn out to be damaged: then a run goes on from the one before


@dataclass(frozen=True)
class Wish:
    """Which: older than `age_s`, in one of `states` (any, where empty), of at least `bytes`; `keep` checkpoints."""

    age_s: float
    states: frozenset[str] = frozenset()
    bytes: int = 0
    keep: int = DEFAULT_KEEP


@dataclass(frozen=True)
class Item:
    """Something that can go: `below` are paths in `base`."""

    kind: Literal["job", "checkpoint", "code"]
    run: str
    base: str
    below: tuple[str, ...]
    place: FileSystem = field(repr=False)
    record: Record = field(repr=False)
    state: str = ""
    age_s: float = 0.0
    bytes: int = 0

    @property
    def name(self) -> str:
        """For a reader: the job's id, or the path of a checkpoint, or of what a sweep's points share."""
        return self.record.job_id if self.kind == "job" else f"{self.base}/{self.below[0]}"


@dataclass(frozen=True)
class Found:
    """What can go, and what was left out for a reason that a reader may want to know."""

    items: list[Item]
    kept: list[tuple[str, str]]


def look(jobs: Iterable[tuple[Record, Status]], wish: Wish, only: Container[str] | None = None) -> Found:
    """Look at everything; nothing is changed. `jobs` are all from here, as one run may need another's checkpoint;
    `only`: names of the runs of which something may go.
    """
    jobs, found, now = list(jobs), Found([], []), time.time()
    needs = Needs(jobs)
    runs: dict[tuple[str, str, str], list[tuple[Record, Status]]] = {}
    for record, status in jobs:
        key = (record.executor, str(record.handle.get("host")), record.run_dir)
        runs.setdefault(key, []).append((record, status))
    for of_run in runs.values():
        if only is not None and of_run[-1][0].run_name not in only:
            continue
        try:
            busy = why_busy(of_run)
            if busy:
                found.kept.append((of_run[-1][0].run_name, busy))
            else:
                found.items.extend(_measured(list(_of_run(of_run, wish, now, needs)), wish, found.kept))
        except ClusterError as error:
            found.kept.append((of_run[-1][0].run_name, error.message))
    try:
        shared = list(_shared_code(jobs, found, only, now))
        found.items.extend(each for item in shared for each in _measured([item], wish, found.kept))
    except ClusterError as error:
        found.kept.append(("what points of sweeps share", error.message))
    return found


def _shared_code(
    jobs: list[tuple[Record, Status]], found: Found, only: Container[str] | None, now: float
) -> Iterator[Item]:
    going = {item.base for item in found.items if item.kind == "job"}
    for directory, points in shared_code.unused(jobs, going, only):
        record = points[-1][0]
        age = now - max(status.ended or one.submitted for one, status in points)
        place = executors.get(record.executor).place_of(record)
        yield Item("code", record.run_name, directory, (contract.CODE,), place, record, age_s=age)


def why_busy(of_run: list[tuple[Record, Status]]) -> str | None:
    """Why nothing of a run may go; None where all of its jobs are over, also those of other launchers."""
    for record, status in of_run:
        if status.stuck:
            return f"{record.job_id} is to have a further attempt"
        if not status.over:
            return f"{record.job_id} is {status.state}"
    record = of_run[-1][0]
    try:
        claim.refuse_while_busy(record, executors.get(record.executor).place_of(record))
    except claim.RunBusy as busy:
        return busy.who
    return None


def remove(item: Item) -> bool:
    """Remove one; False where something of it is still there, or a job of its run has begun meanwhile.

    Raises:
        ClusterError: its place cannot be reached.
    """
    if item.kind == "code":  # nobody can claim it: a job whose script is there is not removed
        wanted = [(item.base, path) for path in item.below]
        return not shared_code.using(item.base, item.place) and disk.remove(item.place, item.base, None, wanted)
    try:
        last = claim.refuse_while_busy(item.record, item.place)
    except claim.RunBusy:
        return False
    wanted = [(item.base, path) for path in item.below]
    return disk.remove(item.place, item.record.run_dir, last.number if last else None, wanted)


def _of_run(of_run: list[tuple[Record, Status]], wish: Wish, now: float, needs: Needs) -> Iterator[Item]:
    place = executors.get(of_run[-1][0].executor).place_of(of_run[-1][0])
    submitted = [record for record, status in of_run if status.state != records.NOT_SUBMITTED]
    newest = max(submitted or [record for record, _ in of_run], key=lambda record: record.submitted)
    ages = [_age(record, status, wish.age_s, now, place) for record, status in of_run]
    orders = (JobDir(record.job_dir, place).agent_order() or {} for record, _ in reversed(of_run))
    directory = next((found for order in orders if (found := order.get("checkpoint_dir"))), None)
    saved = False
    if directory is not None and directory.startswith(f"{newest.run_dir}/"):
        checkpoints = _checkpoints(directory, place)
        saved = any(complete for _, complete in checkpoints)
        if min(ages) >= wish.age_s and not wish.states:
            below = directory.removeprefix(f"{newest.run_dir}/")
            superseded = _superseded(checkpoints, wish.keep, _named(directory, newest.run_dir, place))
            best = _best(checkpoints, newest, place) if superseded else None
            for name in (*superseded, *(name for name in place.names(directory) if name.startswith(disk.REMOVED))):
                if name == best or needs.has(newest.run_dir, directory, name, place):
                    continue
                how: dict[str, Any] = {"place": place, "record": newest, "age_s": min(ages)}
                yield Item("checkpoint", newest.run_name, newest.run_dir, (f"{below}/{name}",), **how)
    end = rundir.finished(newest.run_dir, place)  # of a run that was made longer it may be the former one
    finished = end is not None and (end.get("step") or 0) >= (newest.max_steps or 0)
    resumable = newest if saved and not finished else None  # its directory is what `resume` starts
    for (record, status), age in zip(of_run, ages, strict=True):
        if age < wish.age_s or record == resumable or (wish.states and status.state not in wish.states):
            continue
        names = [name for name in place.names(record.job_dir) if not _stays(name)]
        if names:
            how = {"place": place, "record": record, "state": status.state, "age_s": age}
            yield Item("job", record.run_name, record.job_dir, tuple(sorted(names)), **how)


def _age(record: Record, status: Status, least: float, now: float, place: FileSystem) -> float:
    """Seconds since the job's end. Where nobody has written that down (it was killed with its agent), since its
    submission; 0 where something in its directory is younger than `least`."""
    if status.ended:
        return now - status.ended
    find = f"find {shlex.quote(record.job_dir)} -mmin -{max(1, int(least / 60))} -type f | head -n 1"
    told = filesystem.output(place, find, disk.ASK_S)
    return 0.0 if told.strip() and least else now - record.submitted


def _stays(name: str) -> bool:
    return name in KEPT_OF_A_JOB or name.startswith(_KEPT_NAMES)


def _checkpoints(directory: str, place: FileSystem) -> list[tuple[str, bool]]:
    """(name, complete) of each, oldest first."""
    steps = {name: step for name in place.names(directory) if (step := contract.checkpoint_step(name)) is not None}
    ordered = sorted(steps, key=lambda name: steps[name])
    return [(name, contract.is_saved(name, place.names(f"{directory}/{name}"))) for name in ordered]


def _named(directory: str, run_dir: str, place: FileSystem) -> frozenset[str]:
    """Checkpoints that links beside them, the framework's own files, the run's end and its export, or runs that began
    from them name.

    Raises:
        ClusterError: one of these cannot be read, so what it names is not known.
    """
    script = (
        f"tell {shlex.quote(f'{run_dir}/{contract.READERS}')}/*.json\n"
        f"cd {shlex.quote(run_dir)} 2>/dev/null && {{ tell {contract.FINISHED}; readlink {contract.HF}; }}\n"
        f"cd {shlex.quote(directory)} 2>/dev/null || exit 0\n"
        'for entry in *; do [ ! -L "$entry" ] || readlink "$entry"; done\ntell LATEST.txt latest_*.txt'
    )
    words = re.findall(r"[\w.-]+", needed.tell(place, script))
    iterations = (f"iter_{int(word):07d}" for word in words if word.isascii() and word.isdigit())
    return frozenset((*words, *iterations))


def _best(checkpoints: list[tuple[str, bool]], newest: Record, place: FileSystem) -> str | None:
    """The complete one of the lowest validation loss by the run's metrics, the later of two; None without any."""
    told = []
    known = listing.losses(newest, place)
    for name, is_complete in reversed(checkpoints):
        _, loss = known.get(contract.checkpoint_step(name) or 0, (None, None))
        if is_complete and loss is not None:
            told.append((loss, name))
    return min(told, key=lambda one: one[0])[1] if told else None


def _superseded(checkpoints: list[tuple[str, bool]], keep: int, named: frozenset[str]) -> list[str]:
    """Those before the last `keep` complete ones; incomplete ones after these may be looked at by who resumes."""
    complete = [name for name, is_complete in checkpoints if is_complete]
    if not complete:
        return []
    kept = complete[-keep:]
    names = [name for name, _ in checkpoints]
    before = names[: names.index(kept[0])]
    return [name for name in before if name not in named]


def _measured(items: list[Item], wish: Wish, kept: list[tuple[str, str]]) -> Iterator[Item]:
    places = [(item.base, path) for item in items for path in item.below]
    sizes = iter(disk.sizes(items[0].place, places) if items else ())
    for item in items:
        each = [(path, next(sizes)) for path in item.below]
        for path, size in each:
            shared = path == contract.CODE and item.record.handle.keys() & shared_code.HANDLES  # by a sweep's points
            if size in disk.WHY and not shared:
                kept.append((f"{item.base}/{path}", disk.WHY[str(size)]))
        below = tuple(path for path, size in each if isinstance(size, int))
        total = sum(size for _, size in each if isinstance(size, int))
        if below and total >= wish.bytes:
            yield replace(item, below=below, bytes=total)
