"""File systems here and behind a shell: they have to do the same, with few round trips and few bytes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from automodel_launch.errors import ClusterError
from automodel_launch.launch.tails import Tail, new_lines
from automodel_launch.remote import filesystem, reader
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.workbench import refused


@dataclass(frozen=True)
class Counting(LocalShell):
    """A shell that counts calls and the bytes that come back."""

    calls: list[int] = field(default_factory=list)

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        found = super().run_bytes(script, data, timeout)
        self.calls.append(len(found[1]))
        return found


@pytest.fixture(params=["here", "behind", "many", "broken-python"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FileSystem:
    """This machine's, and those behind a shell, where few files and many are read in two ways."""
    if request.param == "here":
        return LOCAL
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    if request.param != "behind":
        monkeypatch.setattr(reader, "FEW", 0)
    if request.param == "broken-python":
        folder = tmp_path_factory.mktemp("bin")
        (folder / "python3").write_text("#!/bin/sh\necho Fatal Python error >&2\nexit 1\n")
        (folder / "python3").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return RemoteFileSystem(LocalShell())


@pytest.mark.parametrize("name", ["plain", "a b", "it's", "-n", "$HOME;", "ü"])
def test_reading(place: FileSystem, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"0123\n56\0\xff9")
    assert place.read(str(path)) == (b"0123\n56\0\xff9", 10)
    assert place.read(str(path), 7) == (b"\0\xff9", 10)
    assert place.read(str(path), 10) == (b"", 10)
    assert place.read(str(path), 99) == (b"", 10)
    assert place.read(str(path), -3) == (b"\0\xff9"[-3:], 10)
    assert place.read(str(path), -99) == (b"0123\n56\0\xff9", 10)


def test_what_is_no_file_reads_as_none(place: FileSystem, tmp_path: Path) -> None:
    assert place.read(str(tmp_path / "no")) is None
    assert place.read(str(tmp_path)) is None
    assert place.names(str(tmp_path / "no")) == []


def test_several_at_once(place: FileSystem, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "empty").touch()
    wanted = [(str(tmp_path / name), offset) for name, offset in (("a", 0), ("no", 0), ("b", 1), ("empty", 0))]
    assert place.read_many(wanted) == [(b"a\n", 2), None, (b"\n", 2), (b"", 0)]


def test_so_many_files_that_no_command_line_holds_their_names(place: FileSystem, tmp_path: Path) -> None:
    """1,175 ranks were too many: the shell's words were, and there may be many times as many."""
    names = [f"{'x' * 200}-{number}" for number in range(2500)]
    for name in names[::100]:
        (tmp_path / name).write_text(name)
    found = place.read_many([(str(tmp_path / name), -5) for name in names])
    expected = [(name[-5:].encode(), len(name)) if number % 100 == 0 else None for number, name in enumerate(names)]
    assert found == expected


def test_what_would_hold_a_reader_for_ever_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert LOCAL.read(str(tmp_path / "pipe")) is None
    for few in (8, 0):
        monkeypatch.setattr(reader, "FEW", few)
        assert RemoteFileSystem(LocalShell()).read(str(tmp_path / "pipe")) is None


def test_a_chunk_is_shared(place: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "CHUNK", 100)
    (tmp_path / "a").write_bytes(b"x" * 1000)
    found = place.read_many([(str(tmp_path / "a"), 0)] * 4)
    assert [len(one[0]) for one in found if one] == [25] * 4
    assert found[0] and found[0][1] == 1000


def test_an_answer_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    class Broken(LocalShell):
        def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
            return 1, b"10 10\nabc", b"broken pipe"

    refused(ClusterError, lambda: RemoteFileSystem(Broken()).read("/a"), "could not be read", "broken pipe")


def test_making(place: FileSystem, tmp_path: Path) -> None:
    folder = str(tmp_path / "a" / "b")
    assert place.make(folder, new=True)
    assert not place.make(folder, new=True)
    assert place.make(folder)
    assert place.names(str(tmp_path / "a")) == ["b"]
    place.remove(folder)
    assert place.names(str(tmp_path / "a")) == []


def test_what_cannot_be_made(place: FileSystem, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for new in (True, False):
        with pytest.raises(ClusterError):
            place.make(str(tmp_path / "file" / "b"), new=new)


def test_putting(place: FileSystem, tmp_path: Path) -> None:
    source, target = tmp_path / "script.sh", tmp_path / "target"
    source.write_text("#!/bin/sh\n")
    source.chmod(0o755)
    place.make(str(target))
    os.utime(source, (0, 0))
    os.chown(source, 4711 if os.getuid() == 0 else -1, -1)
    place.put(str(target), {"code/it's": source}, {"a/b.txt": "ü\udcff"})
    for name in ("a/b.txt", "code/it's"):  # purges of scratch space take the oldest files first
        found = (target / name).stat()
        assert (found.st_uid, time.time() - found.st_mtime < 3600) == (os.getuid(), True)
    assert (target / "a" / "b.txt").read_bytes() == "ü".encode() + b"\xff"
    assert (target / "code" / "it's").stat().st_mode & 0o777 == 0o755
    with pytest.raises(ClusterError):
        place.put(str(tmp_path / "script.sh"), {}, {"a": "b"})


def test_a_writer_that_is_cut_off_leaves_the_file_that_was_there(place: FileSystem, tmp_path: Path) -> None:
    told, source = tmp_path / "run.json", tmp_path / "source"
    told.write_text("former\n")
    told.chmod(0o664)
    source.write_bytes(b"x" * 2**20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))  # writing ends in the middle; tar is even killed
    try:
        with pytest.raises(ClusterError):
            place.put(str(tmp_path), {}, {"run.json": "y" * 2**20})
        if place is LOCAL:
            with pytest.raises(ClusterError):
                place.put(str(tmp_path), {"run.json": source}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.read_text() == "former\n"
    assert place.names(str(tmp_path)) == ["run.json", "source"]
    with told.open() as reader:  # who reads meanwhile sees one of the two
        place.put(str(tmp_path), {}, {"run.json": "new\n"})
        assert reader.read() == "former\n"
    assert (told.read_text(), told.stat().st_mode & 0o777) == ("new\n", 0o664)


@dataclass(frozen=True)
class Cut(LocalShell):
    """A connection that breaks while it carries what is to be written."""

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        return super().run_bytes(script, data[: len(data) // 2], timeout)


def test_a_connection_that_breaks_makes_no_half_files(tmp_path: Path) -> None:
    place = RemoteFileSystem(Cut())
    with pytest.raises(ClusterError, match="the connection broke"):
        place.create(str(tmp_path / "claims" / "1"), '{"job_id": "a.1"}')
    (tmp_path / "run.json").write_text("former\n")
    with pytest.raises(ClusterError):
        place.put(str(tmp_path), {}, {"run.json": "new\n" * 5000})
    assert (place.names(str(tmp_path / "claims")), (tmp_path / "run.json").read_text()) == ([], "former\n")


def test_a_30_mb_log_comes_once_in_chunks(tmp_path: Path) -> None:
    path, line = tmp_path / "log", b"x" * 99 + b"\n"
    path.write_bytes(line * 300_000)
    shell = Counting()
    tail = Tail(path, place=RemoteFileSystem(shell))
    assert sum(len(text) + 1 for text in tail.lines()) == 30_000_000
    assert len(shell.calls) == 4
    assert max(shell.calls) <= filesystem.CHUNK + 100
    assert sum(shell.calls) < 30_001_000
    assert list(tail.lines()) == []
    assert shell.calls[4:] == [11]  # the size, and no byte of the log


def test_one_round_trip_for_all_files(tmp_path: Path) -> None:
    for rank in range(64):
        (tmp_path / str(rank)).write_text("one\ntwo\n")
    shell = Counting()
    tails = {rank: Tail(tmp_path / str(rank)) for rank in range(64)}
    assert len(list(new_lines(tails, RemoteFileSystem(shell)))) == 128
    assert len(shell.calls) == 1


def test_a_file_that_came_back_shorter(place: FileSystem, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long first line\n")
    tail = Tail(path, place=place)
    assert list(tail.lines()) == ["a long first line"]
    path.write_text("new\n")
    assert list(tail.lines()) == ["new"]
    assert list(tail.lines()) == []


def test_a_job_that_logs_faster_than_we_read_does_not_hold_us(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0\n")

    class Growing(LocalShell):
        def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
            found = super().run_bytes(script, data, timeout)
            with path.open("a") as file:
                file.write("more\n")
            return found

    tail = Tail(path, place=RemoteFileSystem(Growing()))
    assert list(tail.lines()) == ["0"]
    assert list(tail.lines()) == ["more"]


class Patient(filesystem.LocalFileSystem):
    """Refuses to be asked for ever; `before` happens when it is asked for the second time."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before, self.asked = before, list[int]()

    def read_many(self, wanted: Sequence[tuple[str, int]]) -> list[filesystem.FileRead]:
        self.asked.append(len(wanted))
        assert len(self.asked) < 9
        if len(self.asked) == 2:
            self.before()
        return super().read_many(wanted)


def test_a_log_that_was_emptied_or_removed_does_not_hold_us(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("first\n")
    tail = Tail(path, place=Patient())
    assert list(tail.lines()) == ["first"]
    path.write_bytes(b"")
    assert list(tail.lines()) == []
    path.write_text("second\n")
    assert list(tail.lines()) == ["second"]
    path.write_bytes((b"x" * 99 + b"\n") * 100_000)  # more than one read fetches
    assert len(list(Tail(path, place=Patient(path.unlink)).lines())) == filesystem.CHUNK // 100
