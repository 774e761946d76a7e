"""recipes/data_prep.py on many nodes: processes with the environment that the node agent gives to each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    command,
    config,
    digests,
    documents,
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


def start(values: dict[str, Any], tmp: Path, rank: int, world: int = 2) -> subprocess.Popen[str]:
    environ = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command(values, tmp), stdout=pipe, stderr=pipe, text=True, env=environ)


def end(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err, err
    return out, err


def shards_of(said: str) -> int:
    found = re.search(r"^(\d+) shards, ", said, re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(("workers", "world"), [(4, 1), (1, 2), (2, 3)])
def test_the_number_of_nodes_and_workers_changes_no_byte(
    workers: int, world: int, alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5, workers=workers)
    said = [end(process) for process in [start(values, tmp_path, rank, world) for rank in range(world)]]
    assert digests(tmp_path / "out") == expected and not leftovers(tmp_path)
    shares = [shards_of(err) for _, err in said]
    assert sum(shares) == 10 and min(shares) > 0
    blend = (tmp_path / "out" / "latest").resolve() / "blend.json"
    assert said[0][0] == f"{blend}\n" and all(out in ("", f"{blend}\n") for out, _ in said)
    assert not list((tmp_path / "out").glob("latest/.data_prep/parts/*/*"))


def test_one_node_after_the_other(alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path) -> None:
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5)
    out, said = end(start(values, tmp_path, 1))
    assert out == "" and "left to other nodes" in said and not (tmp_path / "out" / "latest").exists()
    assert end(start(values, tmp_path, 0))[0].endswith("blend.json\n")
    assert digests(tmp_path / "out") == expected
    for rank in (0, 1):
        assert "nothing to do" in end(start(values, tmp_path, rank))[1]


def test_a_node_that_dies_and_the_job_is_requeued(
    alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    datasets, expected = alone
    values = config(tmp_path, "", datasets=datasets, num_shards=5)
    first, second = (start(values, tmp_path, rank) for rank in (0, 1))
    second.send_signal(signal.SIGSTOP)  # wherever it is: it must not come to its end before it is killed
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/.data_prep/receipts/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second.kill()
    second.communicate()
    time.sleep(0.5)
    assert first.poll() is None and not (tmp_path / "out" / "latest").exists()  # it waits: the agent ends it
    first.terminate()
    end(first, 143)
    for process in [start(values, tmp_path, rank) for rank in (0, 1)]:
        end(process)
    assert digests(tmp_path / "out") == expected and not leftovers(tmp_path)


def test_a_second_run_beside_that_of_two_nodes(
    alone: tuple[list[dict[str, Any]], dict[str, str]], tmp_path: Path
) -> None:
    values = config(tmp_path, "", datasets=alone[0], num_shards=5)
    first = start(values, tmp_path, 0)  # waits for node 1
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/.data_prep/receipts/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for rank, world in ((0, 1), (0, 2), (0, 3)):
        assert "another run is writing" in end(start(values, tmp_path, rank, world), 1)[1]
    end(start(values, tmp_path, 1))
    end(first)
    assert digests(tmp_path / "out") == alone[1]


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("x", "2"), ("-1", "2"), ("0", "")])
def test_a_rank_that_is_none(rank: str, world: str, tmp_path: Path) -> None:
    environ = {**os.environ, "RANK": rank, "WORLD_SIZE": world}
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(5)))
    said = prepare(values, tmp_path, code=2, env=environ).stderr
    assert f"RANK={rank!r}, WORLD_SIZE={world!r}" in said


def test_shares_are_even_and_whole() -> None:
    from data_prep_lib.nodes import Node
    from data_prep_lib.shards import Piece, Shard

    sizes = [1000, 1000, 900, 500, 500, 100, 100, 100, 1, 0, 0]
    shards = [Shard("d", i, "jsonl", "text", (Piece("/f", size, 0, size),)) for i, size in enumerate(sizes)]
    for world in (1, 2, 3, 20):
        shares = [Node(rank, world).share(shards) for rank in range(world)]
        assert sorted(name for share in shares for name in share) == [shard.name for shard in shards]
        bytes_of = {shard.name: shard.size for shard in shards}
        loads = [sum(bytes_of[name] for name in share) for share in shares]
        assert max(loads) <= max(1000, sum(sizes) / world + 1000)
    assert Node(0, 2).share(shards) == Node(0, 2).share(shards[::-1])


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    from data_prep_lib import nodes
    from data_prep_lib.layout import Layout

    def unsupported(*args: Any) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    said: list[str] = []
    with (
        nodes.locked(Layout(tmp_path), nodes.Node(1, 2), said.append),
        nodes.one_at_a_time(Layout(tmp_path), nodes.Node(1, 2)),
    ):
        assert "no locks" in said[0]
