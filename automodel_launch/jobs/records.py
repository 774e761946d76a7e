"""The record of every job submitted from here: one JSON file a job, so that two launchers never lose one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeGuard

from automodel_launch import contract
from automodel_launch.errors import JobError, RecordError
from automodel_launch.suggest import did_you_mean

LOCK = ".lock"  # in the records' folder; held by whoever changes a record that is there
SETTLED_S = 3600.0
"""An end that is true that much later is final. Until then somebody may requeue the job; slurmctld has it for MinJobAge
(300 s)."""
DIRECTORY_GONE = "its directory is gone: it can neither be followed nor leave a record of its end"
AGES_S = 24 * 3600.0
"""The same of an end that was not looked at before: by that much no clock of a node differs from this one."""
_FIRST, _SEEN = "first_seen", "seen"  # in a record's `end`: when (unix seconds, here) somebody found it true
_LARGEST = 1e300  # NaN is not below it, nor is an integer of a thousand digits
_LATEST_S = 2.0**36  # unix seconds that any calendar can show: the year 4147


BESIDE = "beside"  # in the handle of an evaluation by `on_checkpoint`: the run whose checkpoint it evaluates
SUBMITTING = "SUBMITTING"  # a launcher is at it now
RESUMING = "RESUMING"  # the same, of a job that has run before
NOT_SUBMITTED = "NOT_SUBMITTED"  # its launcher ended before that


@dataclass(frozen=True)
class Status:
    """A job's state at one moment; UNKNOWN means that it could not be told, never that the job failed.

    `started` and `ended` are unix seconds, `rank` the global rank that failed first, `log` relative to the job's
    directory. `error` is why it failed, was ended, or cannot be told; `reason` why it waits, or what else is to be
    known, and `advice` what to do about that. `cause` says in plain words what a known error means.
    """

    state: str
    code: int | None = None
    error: str | None = None
    rank: int | None = None
    node: str | None = None
    step: int | None = None
    log: str | None = None
    signal: str | None = None
    started: float | None = None
    ended: float | None = None
    forgotten: bool = False  # whoever ran it answers, and knows it no longer
    stuck: bool = False  # it was to have a further attempt, and nobody is queued for it: `resume` starts it
    reason: str | None = None
    advice: str | None = None
    cause: str | None = None
    held: bool = False  # it waits because its owner wants it so: see launch/waiting.py

    @property
    def over(self) -> bool:
        """The job has ended."""
        return self.state in contract.ENDED or self.state == NOT_SUBMITTED

    @property
    def underway(self) -> bool:
        """It is in the queue, or runs, for certain."""
        return not (self.over or self.forgotten or self.state == "UNKNOWN")


@dataclass(frozen=True)
class Record:
    """What was submitted, and what finds it again. `submitted` is unix seconds; `handle` belongs to the executor."""

    job_id: str
    run_name: str
    recipe: str
    config: str
    profile: str
    executor: str
    mode: str
    job_dir: str
    run_dir: str
    plan_hash: str
    submitted: float
    max_steps: int | None = None
    handle: dict[str, Any] = field(default_factory=dict)
    launcher: dict[str, Any] | None = None  # while it is being submitted: the process that does (jobs/launcher.py)
    end: dict[str, Any] | None = None  # the Status that it was last seen to end with
    after: list[dict[str, Any]] = field(default_factory=list)  # the runs whose end it waits for, as Plan.after
    before: dict[str, Any] | None = None  # while it is being resumed: `handle` and `end` as they were
    typed: list[str] = field(default_factory=list)  # the command's words for what is launched, before its options

    @property
    def beside(self) -> str | None:
        """The run whose checkpoint it evaluates, of a job that `on_checkpoint` had submitted, without a launcher."""
        run = self.handle.get(BESIDE)
        return run if isinstance(run, str) else None

    @property
    def last_end(self) -> Status | None:
        """The end that was seen, for when nobody knows the job any longer."""
        return status_of(self.end or {})

    @property
    def final(self) -> Status | None:
        """The end, where it was still true when nobody could requeue the job: 200 old jobs are listed at once."""
        end, seen = self.last_end, (self.end or {}).get(_SEEN)
        return end if end is not None and is_time(seen) and _is_settled(self, end, seen) else None


def status_of(values: dict[str, Any]) -> Status | None:
    """The status that such values tell; one of another type than Status says is left out. None without a state."""
    told = {key: value for key, value in values.items() if key in _STATUS_TYPES and _STATUS_TYPES[key](value)}
    return Status(**told) if "state" in told else None


def typed(status: Status) -> Status:
    """The same without values of another type than Status says: what a job has written may hold anything."""
    return status_of(vars(status)) or status


def is_time(value: Any) -> TypeGuard[int | float]:
    """Unix seconds, which a calendar can show."""
    return is_number(value) and 0 <= value < _LATEST_S


def is_number(value: Any) -> TypeGuard[int | float]:
    """A number that a float holds; true and false are none, which Python takes for integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_whole(value: Any) -> TypeGuard[int]:
    """A number that was written as an integer."""
    return isinstance(value, int) and is_number(value)


_STATUS_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("state", "error", "node", "log", "signal", "reason", "advice", "cause"), _is_text),
    **dict.fromkeys(("code", "rank", "step"), is_whole),
    **dict.fromkeys(("started", "ended"), is_time),
    **dict.fromkeys(("forgotten", "stuck", "held"), lambda value: isinstance(value, bool)),
}


def remember(folder: Path, record: Record, status: Status) -> None:
    """Keep the end of a job, or drop one that is no longer true: a cluster without sacct forgets it within minutes.

    Only of the start that was looked at: another launcher may have resumed the job since `record` was read. A folder
    that cannot be written takes nothing from the answer, which is true without it.
    """
    if status.state in contract.ENDED:
        now, again = time.time(), record.last_end == status
        if again and (record.final or not _is_settled(record, status, now)):
            return
        first = (record.end or {}).get(_FIRST) if again else None
        end: dict[str, Any] | None = {**asdict(status), _FIRST: first if is_time(first) else now, _SEEN: now}
    elif record.end is None or status.over or status.state == "UNKNOWN":  # NOT_SUBMITTED: launch/state.py says it
        return
    else:
        end = None

    def ended(now: Record) -> Record:
        return replace(now, end=end) if is_same_start(now, record) else now

    with contextlib.suppress(RecordError):
        change(folder, record, ended)


def _is_settled(record: Record, end: Status, now: float) -> bool:
    """An hour by this machine's clock: that of the node which has told the time of the end may be any other."""
    first = (record.end or {}).get(_FIRST) if record.last_end == end else None
    long_seen = is_time(first) and now - first > SETTLED_S
    return bool(end.ended) and (long_seen or now - (end.ended or 0.0) > AGES_S)


def is_same_start(one: Record, other: Record) -> bool:
    """Whether both tell of the same start of a job: nobody has completed or resumed it in between."""
    return (one.handle, one.launcher) == (other.handle, other.launcher)


def change(folder: Path, record: Record, how: Callable[[Record], Record]) -> Record:
    """Replace a record by what `how` makes of it as it is now on disk; one changer at a time. The record then.

    Raises:
        RecordError: it cannot be written.
    """
    with _locked(folder):
        now = _read(folder / f"{record.job_id}.json") or record
        changed = how(now)
        if changed != now:
            _write(folder, changed)
    return changed


def add(folder: Path, record: Record) -> bool:
    """Write the record of a new job; False where there is one of that id already.

    Raises:
        RecordError: it cannot be written.
    """
    with _locked(folder):
        if (folder / f"{record.job_id}.json").exists():
            return False
        _write(folder, record)
    return True


def forget(folder: Path, record: Record) -> None:
    """Remove the record of a job that was refused."""
    with contextlib.suppress(OSError):
        (folder / f"{record.job_id}.json").unlink(missing_ok=True)


def save(folder: Path, record: Record) -> None:
    """Write a record under its job's id; readers see the whole file or none.

    Raises:
        RecordError: it cannot be written; what was there is as it was.
    """
    with _locked(folder):
        _write(folder, record)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, also on several hosts; a file system without locks does without."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(folder: Path, record: Record) -> None:
    target = folder / f"{record.job_id}.json"
    try:
        put(target, asdict(record))
    except OSError as error:
        raise _unwritable(target, error) from error


def put(target: Path, data: Mapping[str, Any]) -> None:
    """Write a file of JSON; readers see the whole file or none.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(data, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())  # some file systems tell of a full disk only then
        partial.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def keep(target: Path, data: Mapping[str, Any], of: str) -> None:
    """Write the record of something else than a job, a sweep's for example (`of`: "the sweep"); as `put`.

    Raises:
        RecordError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target, data)
    except OSError as error:
        raise RecordError(f"{target}: {of}'s record cannot be written: {error.strerror}.") from error


def _unwritable(path: Path, error: OSError) -> RecordError:
    return RecordError(f"{path}: the job's record cannot be written: {error.strerror}.", f"df -h {path.parent}")


def all_records(folder: Path) -> list[Record]:
    """Every record, oldest first; a file that is not one (a later version's, say) is left out; `unreadable` tells."""
    records = [record for path in folder.glob("*.json") if (record := _read(path))]
    return sorted(records, key=lambda record: record.submitted)


def unreadable(folder: Path) -> list[Path]:
    """Files among the records that this version cannot read."""
    return [path for path in sorted(folder.glob("*.json")) if _read(path) is None]


def find(folder: Path, wanted: str) -> Record:
    """The job of that id, unique prefix of an id, run's name (its last job), executor's id, or `last`.

    Raises:
        JobError: there is none, or several.
    """
    records = all_records(folder)
    if not records and not unreadable(folder):
        what = "" if wanted == "last" else f" '{wanted}'"
        raise JobError(f"no job{what}: none was submitted from here yet.", "python launch.py pretrain -c tiny")
    own = [record for record in records if record.beside is None]  # those that somebody has launched
    if wanted == "last" and records:
        return own[-1] if own else records[-1]
    for match, what in (
        ([r for r in records if wanted == r.job_id], "id"),
        ([r for r in records if wanted and wanted == str(r.handle.get("slurm_id", ""))], "Slurm id"),
        ([r for r in records if wanted == r.run_name][-1:], "run"),
        ([r for r in own if wanted and r.job_id.startswith(wanted)], "beginning"),
        ([r for r in records if wanted and r.job_id.startswith(wanted)], "beginning"),
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise JobError(f"'{wanted}' is the {what} of {len(match)} jobs: {_listed(match)}.", _which(match, what))
    odd = folder / f"{wanted}.json"
    if odd in unreadable(folder):
        raise JobError(f"{odd} is no record of a job that this version can read.", f"see {odd}")
    guess = did_you_mean(wanted, [r.job_id for r in records])
    raise JobError(f"no job '{wanted}'.{guess}", "`python launch.py jobs` lists them; `last` is the last one")


def _listed(records: Iterable[Record]) -> str:
    names = [f"{record.job_id} (profile {record.profile})" for record in records]
    return ", ".join(names[-6:]) + (", ..." if len(names) > 6 else "")


def _which(match: list[Record], what: str) -> str:
    """Equal Slurm ids are those of two clusters: only our own ids tell their jobs apart."""
    return "give more of the id" if what == "beginning" else f"name it by its own id: {match[-1].job_id}"


def _read(path: Path) -> Record | None:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def from_json(values: Any) -> Record | None:
    """The record that `asdict` has made such values of, None where they are none."""
    try:
        record = Record(**{f.name: values[f.name] for f in fields(Record) if f.name in values})
    except (TypeError, KeyError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: Record) -> bool:
    """Whether every field is of its type. What a handle holds is for its executor to say (executors/handles.py)."""
    texts = (f.name for f in fields(Record) if f.type == "str")
    tables = (record.launcher, record.end, record.before)
    former = record.before or {}
    return (
        all(isinstance(getattr(record, name), str) for name in texts)
        and isinstance(record.handle, dict)
        and all(table is None or isinstance(table, dict) for table in (*tables, former.get("end")))
        and isinstance(former.get("handle", {}), dict)
        and isinstance(record.after, list)
        and all(isinstance(run, dict) for run in record.after)
        and isinstance(record.typed, list)
        and all(isinstance(word, str) for word in record.typed)
        and (record.max_steps is None or is_whole(record.max_steps))
        and is_time(record.submitted)
    )
