"""Many files, and long lines: few round trips, a bound on memory, and nothing lost."""

from __future__ import annotations

import ast
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.commands import console
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Status
from automodel_launch.launch import around, searching, tails
from automodel_launch.launch.tails import Tail
from automodel_launch.remote import filesystem, read_files
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from tests.remote.test_filesystem import Counting

CHUNK = 2**16


@pytest.fixture(params=["here", "behind a shell"])
def place(request: pytest.FixtureRequest) -> FileSystem:
    return LOCAL if request.param == "here" else RemoteFileSystem(Counting())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "CHUNK", CHUNK)


def peak(call: Callable[[], Any]) -> int:
    """Bytes that Python has had at once meanwhile."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def calls(place: FileSystem) -> int:
    assert isinstance(place, RemoteFileSystem) and isinstance(place.shell, Counting)
    return len(place.shell.calls)


def job_of(folder: Path, ranks: int, size: int, place: FileSystem) -> JobDir:
    """A job whose ranks have each logged lines of 64 bytes."""
    (folder / "logs").mkdir()
    for rank in range(ranks):
        (folder / "logs" / f"rank-{rank}.log").write_text(
            f"rank {rank}".ljust(63) + "\n" + ("x" * 63 + "\n") * (size // 64 - 1)
        )
    return JobDir(folder, place)


def test_what_small_files_leave_is_for_the_others(place: FileSystem, tmp_path: Path, small: None) -> None:
    sizes = [CHUNK, 10, CHUNK // 3, 0, *range(20)]
    for number, size in enumerate(sizes):
        (tmp_path / str(number)).write_bytes(b"%d" % (number % 10) * size)
    found = place.read_many([(str(tmp_path / str(number)), 0) for number in range(len(sizes))])
    assert all(one is not None and one[1] == size for one, size in zip(found, sizes, strict=True))
    lengths = [len(one[0]) for one in found if one]
    assert lengths == [CHUNK - sum(sizes[1:]), *sizes[1:]]
    assert all(one and set(one[0]) <= set(b"%d" % (number % 10)) for number, one in enumerate(found))


def test_it_runs_in_old_pythons() -> None:
    ast.parse(Path(read_files.__file__).read_text(), feature_version=(3, 5))


def test_all_ranks_logs_in_few_round_trips_and_little_memory(tmp_path: Path, small: None) -> None:
    ranks, size = 256, 2**11
    place = RemoteFileSystem(Counting())
    job = job_of(tmp_path, ranks, size, place)
    lines = list(searching.lines(job, range(ranks)))
    assert [line[0] for line in lines] == [rank for rank in range(ranks) for _ in range(size // 64)]
    assert [line for line in lines if line[1].startswith("rank ")] == [(n, f"rank {n}".ljust(63)) for n in range(ranks)]
    assert calls(place) == 1 + ranks * size // CHUNK
    del lines
    assert peak(lambda: sum(1 for _ in searching.lines(job, range(ranks)))) < 6 * CHUNK + ranks * 1500


def test_one_round_trip_where_a_chunk_holds_all(tmp_path: Path) -> None:
    place = RemoteFileSystem(Counting())
    job = job_of(tmp_path, 2000, 64, place)
    assert len(list(searching.lines(job, range(2000)))) == 2000
    assert calls(place) == 1
    following = {rank: Tail(job.log(rank)) for rank in range(2000)}
    assert len(list(tails.new_lines(following, place))) == 2000
    assert list(tails.new_lines(following, place)) == []
    assert calls(place) == 3


def test_logs_of_all_lengths_one_after_the_other(place: FileSystem, tmp_path: Path, small: None) -> None:
    texts = ["a\n" * CHUNK, "", "no end", "b" * 3 * CHUNK + "\n", "c\n"]
    for number, text in enumerate(texts):
        (tmp_path / str(number)).write_text(text)
    wanted = {number: Tail(tmp_path / str(number)) for number in [*range(len(texts)), 99]}
    found = list(tails.in_order(wanted, place))
    assert found == [(number, line) for number, text in enumerate(texts) for line in text.splitlines()]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_of_20_mb_is_cut(tmp_path: Path, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "CHUNK", 2**20)
    path, length = tmp_path / "log", 20 * 2**20
    path.write_bytes(b"before\n" + b"y" * length + end)
    found: list[str] = []
    assert peak(lambda: found.extend(Tail(path).lines(last=True))) < 6 * 2**20
    assert found[0] == "before" and len(found) == 2
    assert found[1] == f"{'y' * tails.LONGEST} ... ({length - tails.LONGEST:,} bytes more in this line)"


def test_a_long_progress_bar_is_what_it_shows_at_last(tmp_path: Path, small: None) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"".join(b"\r%9d%%" % number for number in range(2**17)) + b"\r\nnext\n" + b"z" * 2**19 + b"\rshort"
    )
    assert list(Tail(path).lines(last=True)) == [f"{2**17 - 1:9}%", "next", "short"]


def test_records_of_nodes_that_are_longer_than_their_share(place: FileSystem, tmp_path: Path, small: None) -> None:
    """Ranks that failed with the same words were not counted on many nodes: their records were cut off."""
    (tmp_path / "nodes").mkdir()
    for node in range(64):
        told = [{"rank": 8 * node + local, "error": "lost", "more": "t" * 500} for local in range(8)]
        (tmp_path / "nodes" / f"{node}.json").write_text(json.dumps({"node": node, "records": told}))
    job = JobDir(tmp_path, place)
    assert [node["node"] for node in job.nodes()] == list(range(64))
    assert around.others(job, Status("FAILED", error="lost", rank=3)) == 64 * 8 - 1


def test_a_long_document_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    head: dict[str, Any] = {"job_id": "a.1", "ranks": [0, 1], "lines?": []}
    for rows in ([], [{"rank": 0, "line": "]\n}"}], [{"rank": n, "line": 'ü"'} for n in range(3)]):
        assert console.long_document(head, "lines", iter(rows)) == len(rows)
        assert json.loads(capsys.readouterr().out) == {**head, "lines": rows}


def test_of_a_document_that_cannot_be_begun_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[int]:
        raise OSError("gone")
        yield 1

    with pytest.raises(OSError, match="gone"):
        console.long_document({}, "lines", rows())
    assert capsys.readouterr().out == ""
