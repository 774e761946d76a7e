"""Following: new bytes in whole lines, exit codes, and what is said at the end."""

from __future__ import annotations

import errno
import io
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch.closing import closing_block, exit_code
from automodel_launch.launch.follow import Follower
from automodel_launch.launch.tails import Tail
from automodel_launch.remote.filesystem import LOCAL, FileSystem

RECORD = Record("a.1", "a", "stub", "default", "local", "local", "run", "/no/a.1", "/no/a", "hash", 1.0)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_only_whole_lines_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert list(tail.lines()) == []
    _append(path, b"one\ntw")
    assert list(tail.lines()) == ["one"]
    _append(path, b"o\n\nthree")
    assert list(tail.lines()) == ["two", ""]
    assert list(tail.lines(last=True)) == ["three"]
    assert list(tail.lines(last=True)) == []


def test_a_character_in_two_halves(tmp_path: Path) -> None:
    path, text = tmp_path / "log", "ü🎉\n".encode()
    tail = Tail(path)
    for position in range(len(text)):
        assert list(tail.lines()) == []
        _append(path, text[position : position + 1])
    assert list(tail.lines()) == ["ü🎉"]
    _append(path, b"\xff\xfe\n")
    assert list(tail.lines()) == ["\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"windows\r\n", ["windows"]),
        (b"10%\r100%\r\n", ["100%"]),
        (b"done\r\nnext\n", ["done", "next"]),
        (b"\r\n", [""]),
        (b"a\tb\x1b[0m\n", ["a\tb\x1b[0m"]),
    ],
)
def test_carriage_returns(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    (tmp_path / "log").write_bytes(data)
    assert list(Tail(tmp_path / "log").lines()) == lines


def test_a_file_that_went_away_and_came_back_shorter(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a long first line\n")
    tail = Tail(path)
    assert list(tail.lines()) == ["a long first line"]
    path.unlink()
    assert list(tail.lines()) == []
    path.write_bytes(b"new\n")
    assert list(tail.lines()) == ["new"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status("COMPLETED"), 0),
        (Status("COMPLETED", code=0), 0),
        (Status("FAILED", code=7), 7),
        (Status("FAILED"), 1),
        (Status("FAILED", code=0), 1),
        (Status("CANCELLED", code=None), 1),
        (Status("TIMEOUT", code=143), 143),
        (Status("FAILED", code=-9), 137),
        (Status("FAILED", code=256), 1),  # of which a shell would see 0
    ],
)
def test_exit_codes(status: Status, code: int) -> None:
    assert exit_code(status) == code


def test_the_closing_block_of_a_failure() -> None:
    status = Status("FAILED", code=7, error="boom", rank=3, node="n1", log="logs/rank-3.log")
    text = closing_block(RECORD, status)
    for part in ("a.1: FAILED, exit code 7", "boom", "rank 3 on n1", "/no/a.1/logs/rank-3.log", "logs a.1"):
        assert part in text


@pytest.mark.parametrize("said", ["error: no room", "ERROR: no room", "no room"])
def test_an_error_that_calls_itself_one_is_not_called_so_twice(said: str) -> None:
    assert closing_block(RECORD, Status("FAILED", code=1, error=said)).splitlines()[1] == "  error: no room"


def test_the_closing_block_of_a_success(tmp_path: Path) -> None:
    for name in ("a", "a.1"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "finished.json").write_text('{"step": 2, "checkpoint": "/c", "hf": "/hf"}')
    (tmp_path / "a.1" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5, "tps": 1.0}\n')
    record = replace(RECORD, job_dir=str(tmp_path / "a.1"), run_dir=str(tmp_path / "a"))
    text = closing_block(record, Status("COMPLETED", code=0, log="logs/rank-0.log"))
    for part in ("a.1: COMPLETED", "last step: 1, loss 2.5", "checkpoint: /c", "transformers: /hf"):
        assert part in text
    assert "rank-0.log" not in text
    (tmp_path / "a.1" / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n')  # as the agent notes a NaN
    assert "last step: 1, loss nan" in closing_block(record, Status("FAILED", code=1))


def test_the_closing_block_of_a_running_job() -> None:
    assert "attach a.1" in closing_block(RECORD, Status("RUNNING"))


@dataclass
class FakeExecutor:
    """An executor whose job goes through `states`, one a question."""

    states: Iterator[Status]
    interrupt_stops: bool = True
    poll_s: float = 0.0  # the tests do not sleep between two looks
    needed: tuple[str, ...] = ()
    cancelled: list[bool] = field(default_factory=list)
    now: Status = field(default_factory=lambda: Status("RUNNING"))

    def status(self, record: Record) -> Status:
        """The next state; the last one stays."""
        self.now = next(self.states, self.now)
        return self.now

    def place_of(self, record: Record) -> FileSystem:
        """This machine."""
        return LOCAL

    def cancel(self, record: Record, now: bool = False) -> None:
        """Note it; the job ends."""
        self.cancelled.append(now)
        self.states = iter([Status("CANCELLED", code=143)])


def _follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeExecutor, sleep: Any = lambda _: None, **options: Any
) -> tuple[Status, int, str, str]:
    monkeypatch.setattr(executors, "get", lambda _: fake)
    (tmp_path / "logs").mkdir(exist_ok=True)
    out, err = io.StringIO(), io.StringIO()
    follower = Follower(replace(RECORD, job_dir=str(tmp_path)), out=out, err=err, sleep=sleep, **options)
    status, code = follower.run()
    return status, code, out.getvalue(), err.getvalue()


def _states(*names: str) -> Iterator[Status]:
    return iter([Status(name) for name in names])


def test_the_last_unfinished_line_is_shown_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").write_bytes(b"one\nunfinished")
    result = _follow(tmp_path, monkeypatch, FakeExecutor(_states("RUNNING", "COMPLETED")), ranks=[0])
    assert result[1:] == (0, "one\nunfinished\n", "")


def test_several_ranks_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    for rank in (0, 1):
        (tmp_path / "logs" / f"rank-{rank}.log").write_text("x\n")
    assert _follow(tmp_path, monkeypatch, FakeExecutor(_states("COMPLETED")))[2] == "[0] x\n[1] x\n"


def test_an_unknown_state_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExecutor(_states("UNKNOWN", "UNKNOWN", "RUNNING", "UNKNOWN", "COMPLETED"))
    assert _follow(tmp_path, monkeypatch, fake)[1] == 0


def test_what_a_job_waits_for_is_said_once_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Status("PENDING", reason="JobHeldUser (held by its owner)", advice="scontrol release 5")
    later = [Status("PENDING", reason=f"Priority, estimated start {day}") for day in ("Monday", "Tuesday")]
    paused = Status("SUSPENDED", reason="Slurm has stopped its processes", advice="scontrol resume 5")
    states = [held, held, *later, Status("RUNNING", node="c1"), paused, paused, Status("COMPLETED")]
    err = _follow(tmp_path, monkeypatch, FakeExecutor(iter(states)))[3]
    assert err.splitlines() == [
        "waiting: JobHeldUser (held by its owner); scontrol release 5",
        "waiting: Priority, estimated start Monday",
        "running on c1",
        "suspended",
        "Slurm has stopped its processes; scontrol resume 5",
    ]


def test_a_job_that_is_gone_ends_as_it_was_seen_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody waits a minute for a record that was there before."""
    fake = FakeExecutor(iter([Status("UNKNOWN", error="its directory is gone", forgotten=True)]))
    monkeypatch.setattr(executors, "get", lambda _: fake)
    record = replace(RECORD, end={"state": "COMPLETED", "code": 0})
    waits: list[float] = []
    status, code = Follower(record, out=io.StringIO(), err=io.StringIO(), sleep=waits.append).run()
    assert (status.state, code, waits) == ("COMPLETED", 0, [])
    assert "its directory is gone: /no/a.1" in closing_block(record, status)


def test_words_of_a_state_that_is_no_failure_are_no_error() -> None:
    held = Status("PENDING", reason="JobHeldUser (held by its owner)", advice="scontrol release 5")
    text = closing_block(RECORD, held)
    assert "error" not in text
    assert "waiting: JobHeldUser" in text
    assert "scontrol release 5" in text
    assert "error" not in closing_block(RECORD, Status("UNKNOWN", error="Slurm does not answer"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_job_of_this_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fake = FakeExecutor(_states("RUNNING"))
    before = signal.getsignal(number)
    _, code, _, err = _follow(tmp_path, monkeypatch, fake, lambda _: signal.raise_signal(number), own=True)
    assert (fake.cancelled, code) == ([False], 128 + number)
    assert "stopping" in err
    assert signal.getsignal(number) == before


def _once(number: int) -> Any:
    left = [number]
    return lambda _: signal.raise_signal(left.pop()) if left else None


def test_a_signal_detaches_from_a_job_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExecutor(_states("RUNNING"), interrupt_stops=False)
    _, code, _, err = _follow(tmp_path, monkeypatch, fake, _once(signal.SIGINT))
    assert (fake.cancelled, code) == ([], 130)
    assert "detached; a.1 goes on" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_looking_at_a_job_of_this_machine_never_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A job from --batch, or one of another terminal."""
    fake = FakeExecutor(_states("RUNNING"))
    _, code, _, err = _follow(tmp_path, monkeypatch, fake, _once(number))
    assert (fake.cancelled, code) == ([], 128 + number)
    assert "detached; a.1 goes on" in err


@pytest.mark.parametrize(("number", "options"), [(signal.SIGHUP, {}), (signal.SIGINT, {"only_looks": True})])
def test_neither_a_closed_terminal_nor_who_reads_logs_cancels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, options: dict[str, bool]
) -> None:
    """A hang-up comes twice: from the kernel and from the shell."""
    fake = FakeExecutor(_states("RUNNING"), interrupt_stops=False)
    _, code, _, _ = _follow(tmp_path, monkeypatch, fake, lambda _: signal.raise_signal(number), **options)
    assert (fake.cancelled, code) == ([], 128 + number)


def test_a_closed_terminal_lets_a_job_of_its_own_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExecutor(_states("RUNNING"))
    saving = iter([Status("RUNNING"), Status("RUNNING"), Status("CANCELLED", code=143)])

    def cancel(record: Record, now: bool = False) -> None:
        fake.cancelled.append(now)
        fake.states = saving

    monkeypatch.setattr(fake, "cancel", cancel)
    _follow(tmp_path, monkeypatch, fake, lambda _: signal.raise_signal(signal.SIGHUP), own=True)
    assert fake.cancelled == [False]


class _Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_terminal_that_is_gone_is_a_hang_up_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    fake = FakeExecutor(_states("RUNNING", "PENDING"))
    monkeypatch.setattr(executors, "get", lambda _: fake)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").write_text("one\n")
    streams: dict[str, Any] = {"out": io.StringIO(), "err": io.StringIO(), stream: _Gone()}
    follower = Follower(replace(RECORD, job_dir=str(tmp_path)), ranks=[0], sleep=lambda _: None, **streams)
    assert follower.run()[1] == 128 + signal.SIGHUP
    assert fake.cancelled == []


class _Full(io.StringIO):
    """A file on a full disk."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_job_whose_output_cannot_be_written_is_followed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    fake = FakeExecutor(iter([Status("RUNNING"), Status("PENDING"), Status("RUNNING"), Status("FAILED", code=7)]))
    monkeypatch.setattr(executors, "get", lambda _: fake)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").write_text("one\ntwo\n")
    streams: dict[str, Any] = {"out": io.StringIO(), "err": io.StringIO(), stream: _Full()}
    follower = Follower(replace(RECORD, job_dir=str(tmp_path)), ranks=[0], sleep=lambda _: None, own=True, **streams)
    status, code = follower.run()
    assert (status.state, code, fake.cancelled) == ("FAILED", 7, [])
    said = streams["err"].getvalue()
    assert said.count("cannot be written: No space left on device; a.1 is followed") == (stream == "out")


def test_what_nohup_ignores_stays_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fake = FakeExecutor(_states("RUNNING", "RUNNING", "COMPLETED"))
        _, code, _, _ = _follow(tmp_path, monkeypatch, fake, lambda _: signal.raise_signal(signal.SIGHUP), own=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (fake.cancelled, code) == ([], 0)


def test_a_second_signal_cancels_a_job_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExecutor(_states("RUNNING"), interrupt_stops=False)
    _, code, _, _ = _follow(tmp_path, monkeypatch, fake, lambda _: signal.raise_signal(signal.SIGINT))
    assert len(fake.cancelled) == 1
    assert code == 130


def test_a_job_that_ended_by_itself_at_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExecutor(_states("RUNNING", "COMPLETED"))
    status, _, _, _ = _follow(tmp_path, monkeypatch, fake, _once(signal.SIGINT))
    assert (status.state, fake.cancelled) == ("COMPLETED", [])
