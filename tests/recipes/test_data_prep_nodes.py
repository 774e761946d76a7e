"""recipes/data_prep.py on many nodes: processes with the environment that the node agent gives to each."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from data_prep_lib.claims import Claims, Queue
from data_prep_lib.shards import Piece, Shard

from tests import warm
from tests.conftest import LIMIT_S
from tests.recipes import data_prep_fixtures  # type: ignore[import-not-found, unused-ignore]
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    command,
    config,
    digests,
    documents,
    held,
    leftovers,
    prepare,
    write_jsonl,
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Two datasets of 5 shards each, and the digests of a run on one node with one worker."""
    tmp = tmp_path_factory.mktemp("alone")
    large, small = write_jsonl(tmp / "l.jsonl", documents(700)), write_jsonl(tmp / "s.jsonl", documents(200, "s"))
    datasets: list[dict[str, Any]] = [
        {"name": "l.x", "path": str(large), "weight": 3},
        {"name": "s", "path": str(small)},
    ]
    prepare(config(tmp, "", datasets=datasets, num_shards=5, workers=1), tmp)
    return datasets, digests(tmp / "out")


def as_node(rank: int, world: int = 2) -> dict[str, str]:
    return {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world)}


def start(values: dict[str, Any], tmp: Path, rank: int, world: int = 2) -> warm.Process:
    return data_prep_fixtures.start(command(values, tmp), as_node(rank, world))


def end(process: subprocess.Popen[str] | warm.Process, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code and "Traceback" not in err, err
    return out, err


def made_by(said: str, of: int) -> int:
    """Shards that a node has made."""
    found = re.search(r"^(\d+) of \d+ shards were made here", said, re.MULTILINE)
    return int(found[1]) if found else of * bool(re.search(r"^\d+ shards, ", said, re.MULTILINE))


@pytest.mark.parametrize(("workers", "world"), [(4, 1), (1, 2), (2, 3)])
def test_the_number_of_nodes_and_workers_changes_no_byte(
    workers: int, world: int, alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5, workers=workers)
    said = [end(process) for process in [start(values, tmp_path, rank, world) for rank in range(world)]]
    assert digests(tmp_path / "out") == expected and not leftovers(tmp_path)
    assert sum(made_by(err, 10) for _, err in said) == 10  # none is made twice
    blend = (tmp_path / "out" / "latest").resolve() / "blend.json"
    assert all(out == f"{blend}\n" for out, _ in said)
    assert not list((tmp_path / "out").glob("latest/.data_prep/parts/*/*"))


def test_a_node_that_never_comes(alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path) -> None:
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5)
    assert end(start(values, tmp_path, 1))[0].endswith("blend.json\n")
    assert digests(tmp_path / "out") == expected
    for rank in (0, 1):
        assert "nothing to do" in end(start(values, tmp_path, rank))[1]


def held_at_work(values: dict[str, Any], tmp: Path, rank: int) -> subprocess.Popen[str]:
    """A node whose worker has shard 3 and does not go on with it until the file `go` is there."""
    return held(values, tmp, environ=as_node(rank))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_dies_is_not_missed(
    rank: int, alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    """The other one waits for its shards while it lives, and makes them when it has died, whichever it is."""
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5, workers=1)
    dying = held_at_work(values, tmp_path, rank)
    pipe = subprocess.PIPE
    other = subprocess.Popen(command(values, tmp_path), stdout=pipe, stderr=pipe, text=True, env=as_node(1 - rank))
    assert other.stderr is not None
    for line in other.stderr:
        if "shards that other nodes are making" in line:
            break
    else:
        raise AssertionError("it did not wait")
    assert other.poll() is None and not (tmp_path / "out" / "latest").exists()
    dying.kill()
    dying.communicate()
    end(other)
    assert _whole(tmp_path / "out") == expected
    prepare(values, tmp_path)  # what the dead one has left lying is removed when nobody is at work
    assert digests(tmp_path / "out") == expected and not leftovers(tmp_path)


IMPATIENT = """\
from data_prep_lib import claims
claims.STUCK = 0.5
from data_prep_lib import pool
pool._LOOK = 0.2
"""


def test_what_a_stopped_node_has_is_made_by_another_one(
    alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    """Its lock is not given up; when it goes on it finds the same bytes, and ends, its worker stopped still."""
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5, workers=1)
    stopped = held(values, tmp_path, IMPATIENT.replace("{", "{{") + data_prep_fixtures.HELD_SHARD, as_node(0))
    os.killpg(stopped.pid, signal.SIGSTOP)
    try:
        (tmp_path / "impatient").mkdir()
        (tmp_path / "impatient" / "sitecustomize.py").write_text(IMPATIENT)
        path = f"{tmp_path / 'impatient'}:{data_prep_fixtures.RECIPE.parent}"
        other = subprocess.run(
            command(values, tmp_path), capture_output=True, text=True, timeout=LIMIT_S, check=False,
            env={**as_node(1), "PYTHONPATH": path},
        )  # fmt: skip
        assert other.returncode == 0, other.stderr
        told = re.search(r"^(\S+) stands still for \d+ s, on (\S+), process (\d+): it is made here", other.stderr, re.M)
        assert told and told.groups()[1:] == (socket.gethostname(), str(stopped.pid)), other.stderr
        assert _whole(tmp_path / "out") == expected
    finally:
        os.killpg(stopped.pid, signal.SIGCONT)
    assert "1 shards that stood still here were made by other nodes" in end(stopped)[1]
    assert _whole(tmp_path / "out") == expected


def _whole(root: Path) -> dict[str, str]:
    """But for what killed processes have left lying, which the next run removes when nobody is at work."""
    return {name: digest for name, digest in digests(root).items() if not name.endswith(".tmp")}


def test_a_second_run_beside_that_of_two_nodes(
    alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    values = config(tmp_path, "", datasets=alone[0], num_shards=5, workers=1)
    first = held_at_work(values, tmp_path, 0)
    for rank, world in ((0, 1), (0, 2), (0, 3)):
        assert "another run is writing" in end(start(values, tmp_path, rank, world), 1)[1]
    (tmp_path / "go").touch()
    end(first)
    assert digests(tmp_path / "out") == alone[1]


def test_nodes_that_see_other_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file's time is late on a node: it looks again, and ends with the file's name where that does not help."""
    from data_prep_lib import agreement
    from data_prep_lib.config import load_config
    from data_prep_lib.errors import InputError
    from data_prep_lib.job import Job, plan
    from data_prep_lib.nodes import Node

    data = write_jsonl(tmp_path / "a.jsonl", documents(20))
    command(config(tmp_path, data), tmp_path)
    made = load_config(tmp_path / "config.yaml")
    now = data.stat().st_mtime_ns

    def late(of: Any) -> Job:
        os.utime(data, ns=(0, now - 1))
        try:
            return plan(of)
        finally:
            os.utime(data, ns=(0, now))

    said: list[str] = []
    monkeypatch.setattr(agreement, "_AGAIN", 0)
    with agreement.agreed(made, Node(1, 2), said.append) as first:
        with agreement.agreed(made, Node(0, 2), said.append, patience=0) as second:
            assert second.identity == first.identity and not said
        with (
            pytest.raises(InputError, match=r"'web': a\.jsonl is not the same on all nodes: \d+ bytes of .* here"),
            agreement.agreed(made, Node(0, 2), said.append, patience=0, make=late),
        ):
            pass
        views = iter([late, plan])
        with agreement.agreed(made, Node(0, 2), said.append, make=lambda of: next(views)(of)) as second:
            assert second.identity == first.identity and "it looks again" in said[0]
    with agreement.agreed(made, Node(0, 2), said.append, patience=0, make=late) as third:  # another job, later
        assert third.identity != first.identity


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("x", "2"), ("-1", "2"), ("0", "")])
def test_a_rank_that_is_none(rank: str, world: str, tmp_path: Path) -> None:
    environ = {**os.environ, "RANK": rank, "WORLD_SIZE": world}
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(5)))
    said = prepare(values, tmp_path, code=2, env=environ).stderr
    assert f"RANK={rank!r}, WORLD_SIZE={world!r}" in said


def shard_of(number: int, size: int) -> Shard:
    return Shard("d", number, "jsonl", "text", (Piece("/f", size, 0, size),))


def test_each_shard_is_taken_once(tmp_path: Path) -> None:
    items = [(shard_of(i, size), "x") for i, size in enumerate([1000, 1000, 900, 500, 500, 100, 100, 1, 0, 0])]
    done: set[str] = set()
    queues = [Queue(items, Claims(tmp_path), lambda item: item[0].name in done, rank, 3) for rank in range(3)]
    firsts = [queue.take() for queue in queues]
    assert [item and item[0].size for item in firsts] == [1000, 1000, 900]  # the largest, each another one
    taken = [item for item in firsts if item]
    while item := queues[0].take():
        taken.append(item)
    assert len(taken) == 10 and len({shard.name for shard, _ in taken}) == 10
    assert queues[1].take() is None and queues[1].left == 9
    for item in taken[3:5]:
        done.add(item[0].name)
        queues[0].done(item)
    queues[0].done(taken[5])  # given up without a receipt, as by a node that dies
    assert queues[1].take() == taken[5] and queues[1].take() is None and queues[1].left == 6


def test_a_claim_whose_holder_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = 0.0, list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    one, other, third = (Claims(tmp_path, said.append) for _ in range(3))
    assert one.take("a")
    for _ in range(5):
        now += 300
        os.utime(tmp_path / "a", (now, now))  # as `touch`, whose steps a file system may not keep apart
        assert not other.take("a") and not third.take("a") and other.standing() is None
    now += 300
    by = f"on {socket.gethostname()}, process {os.getpid()}"
    assert not other.take("a") and other.standing() == f"a stands still for 300 s, {by}"
    now += 301
    assert other.take("a") and not third.take("a")  # one of them
    assert said == [f"a stands still for 601 s, {by}: it is made here as well"]
    other.release("a")
    assert third.take("a")
    third.release("a")
    one.release("a")
    assert other.take("a") and other.standing() is None


def test_who_waits_for_the_one_that_finishes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep_lib import nodes

    monkeypatch.setattr(nodes, "TELL", 0.0)
    first, said = ExitStack(), list[str]()
    first.enter_context(nodes.one_at_a_time(tmp_path, nodes.Node(0, 2), said.append))

    def say(text: str) -> None:
        said.append(text)
        first.close()

    with nodes.one_at_a_time(tmp_path, nodes.Node(1, 2), say):
        assert re.fullmatch(rf"waiting for {socket.gethostname()}, process {os.getpid()}, for 0 s: .*", said[0])
    assert len(said) == 1


def test_claims_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def unsupported(*args: Any) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("a") and not other.take("a")
    for _ in range(20):
        now += 30
        one.beat()
        assert not other.take("a")  # it lives
    now += 100
    assert not other.take("a")
    now += 200
    assert other.take("a") and other.take("b")  # it has not been touched all the while
    other.release("b")
    assert one.take("b")


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 1), (1, 1), (9 << 20, 3), (1 << 30, 8), (64 << 30, 256), (200 << 30, 800), (2 << 40, 2048), (10 << 40, 8192)],
)
def test_shards_are_sized_by_bytes(size: int, expected: int) -> None:
    from data_prep_lib.shards import default_num_shards

    assert default_num_shards(size) == expected


def test_large_validation_splits_are_several_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joined by several processes, in the order of the shards."""
    import numpy as np
    from data_prep_lib import held_out
    from data_prep_lib.layout import Layout
    from data_prep_lib.megatron import PairWriter, read_lengths

    monkeypatch.setattr(held_out, "PAIR_BYTES", 2000)
    layout = Layout(tmp_path)
    work = [(shard_of(i, 1), "x") for i in range(9)]
    for i, (shard, _) in enumerate(work):
        with PairWriter(layout.prefix("valid", shard), "uint16") as writer:
            writer.add([np.full(300, i, "<u2")], np.array([300], np.int32), 1)
    receipt = held_out.join(layout, "d", work, "uint16", 2)
    prefixes = layout.all_held_out("valid", "d")
    assert [prefix.name for prefix in prefixes] == ["d_00000", "d_00001"]
    assert [len(read_lengths(prefix)) for prefix in prefixes] == [4, 5]  # what is too little joins the last one
    data = b"".join(prefix.with_suffix(".bin").read_bytes() for prefix in prefixes)
    assert np.frombuffer(data, "<u2").tolist() == [i for i in range(9) for _ in range(300)]
    assert len(receipt["files"]) == 4


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    from data_prep_lib import nodes

    def unsupported(*args: Any) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    said: list[str] = []
    with (
        nodes.locked(tmp_path, nodes.Node(1, 2), said.append, lambda: None),
        nodes.one_at_a_time(tmp_path, nodes.Node(1, 2), print),
    ):
        assert "no locks" in said[0]
