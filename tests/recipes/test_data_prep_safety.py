"""recipes/data_prep.py: killed, out of disk or run twice, it never leaves something half-done that looks whole."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.conftest import LIMIT_S, wait_for
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    command,
    config,
    digests,
    documents,
    held,
    leftovers,
    make_tokenizer,
    output,
    prepare,
    write_jsonl,
)


def receipts(root: Path) -> list[Path]:
    return list(root.glob("*/.data_prep/receipts/*.json"))


def started(values: dict[str, Any], tmp: Path, more_than: int = 0) -> subprocess.Popen[str]:
    """The recipe, held in the middle of a shard, with at least one shard more done than that."""
    process = held(values, tmp)
    wait_for(lambda: len(receipts(Path(values["output_dir"]))) > more_than)
    return process


def group_is_empty(pgid: int) -> bool:
    return bool(wait_for(lambda: not any(_in_group(p, pgid) for p in Path("/proc").glob("[0-9]*/stat"))))


def _in_group(stat: Path, pgid: int) -> bool:
    try:
        state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(group) == pgid and state != "Z"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A corpus of a few seconds of work, and the digests of a run that nobody disturbed."""
    tmp = tmp_path_factory.mktemp("undisturbed")
    data = write_jsonl(tmp / "a.jsonl", documents(2000))
    prepare(config(tmp, data, num_shards=12, workers=1), tmp)
    return data, digests(tmp / "out")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_run_again_equals_undisturbed(
    signum: signal.Signals, undisturbed: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    data, expected = undisturbed
    values = config(tmp_path, data, num_shards=12)
    process = started(values, tmp_path)
    process.send_signal(signum)  # to the main process alone: the workers must see for themselves
    _, said = process.communicate(timeout=LIMIT_S)
    done = receipts(tmp_path / "out")
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
    assert "Traceback" not in said
    assert group_is_empty(process.pid)
    assert 0 < len(done) < 12 and not (tmp_path / "out" / "blend.json").exists()
    times = {path: path.stat().st_mtime_ns for path in done}

    again = prepare(values, tmp_path)
    assert f"{len(done)} of 12 shards are done already" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert digests(tmp_path / "out") == expected
    assert not leftovers(tmp_path)


def test_killed_twenty_times_at_random_moments(tmp_path: Path) -> None:
    """Each run goes on where the killed one stopped, at once; one that comes to its end makes room for a new output."""
    data = write_jsonl(tmp_path / "a.jsonl", documents(400))
    values = config(tmp_path, data, num_shards=6)
    start = time.monotonic()
    prepare(values, tmp_path)
    whole = min(1.2, time.monotonic() - start)  # on a busy machine the test is not to take minutes
    expected, seed = digests(tmp_path / "out"), int.from_bytes(os.urandom(4), "big")
    moments, killed, outs = random.Random(seed), 0, [tmp_path / "0"]
    while killed < 20:
        argv = command(values | {"output_dir": str(outs[-1]), "workers": moments.choice((1, 2))}, tmp_path)
        with open(tmp_path / "said", "wb") as said:
            process = warm.start(argv, os.environ, tmp_path, (said.fileno(), said.fileno()), server=warm.RECIPES)
        try:
            process.wait(moments.uniform(0.3, 1) * whole)
        except subprocess.TimeoutExpired:
            process.kill()  # its workers see it themselves, while the next run is on its way
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0, (seed, (tmp_path / "said").read_text())
            outs.append(tmp_path / str(len(outs)))
    prepare(values | {"output_dir": str(outs[-1])}, tmp_path)
    for out in outs:
        assert digests(out) == expected and not leftovers(out), seed


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("which", ["a worker", "the one that forks them"])
def test_a_worker_that_is_killed_ends_the_run(
    which: str, undisturbed: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    data, expected = undisturbed
    values = config(tmp_path, data, num_shards=12)
    process = started(values, tmp_path)
    (server,) = [pid for pid in children(process.pid) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(children(server)[0] if which == "a worker" else server, signal.SIGKILL)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "a worker process died" in said and "Traceback" not in said, said
    assert group_is_empty(process.pid)
    prepare(values, tmp_path)
    assert digests(tmp_path / "out") == expected


_HOLDS_THE_LOCK = """
import multiprocessing, os, signal, sys, types
from data_prep_lib import errors, pool

def start(settings, counters):
    counters.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)

def build(*item):
    raise AssertionError("never")

if __name__ == "__main__":
    pool.worker = types.SimpleNamespace(start=start, build=build)
    queue = types.SimpleNamespace(ahead=0, take=lambda: None, beat=lambda: None)
    try:
        pool.run(multiprocessing.get_context("forkserver"), ("a shard", "me"), queue, None, 1, lambda *_: None, print)
    except errors.DataPrepError as e:
        print(e)
"""


def test_a_worker_that_is_killed_while_it_counts_ends_the_run(tmp_path: Path) -> None:
    """It holds the lock of the counters for ever."""
    script = tmp_path / "holds_the_lock.py"
    script.write_text(_HOLDS_THE_LOCK)
    environ = {**os.environ, "PYTHONPATH": str(RECIPE.parent)}
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.startswith("a worker process died"), done.stderr


def check_full_disk(values: dict[str, Any], tmp: Path, **options: Any) -> None:
    done = prepare(values, tmp, code=1, **options)
    out = Path(values["output_dir"])
    error = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert str(out) in error and "finished shards are kept" in error
    assert not leftovers(out) and not (out / "blend.json").exists()
    for receipt in receipts(out):  # whatever has a receipt is whole
        root = receipt.parents[2]
        assert all(
            (root / path).stat().st_size == size for path, size in json.loads(receipt.read_text())["files"].items()
        )


def test_a_limit_on_file_size(undisturbed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data, expected = undisturbed
    values = config(tmp_path, data, num_shards=12)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
    check_full_disk(values, tmp_path, preexec_fn=limit)
    prepare(values, tmp_path)
    assert digests(tmp_path / "out") == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk(undisturbed: tuple[Path, dict[str, str]], tmp_path: Path, small_disk: Path) -> None:
    data, expected = undisturbed
    values = config(tmp_path, data, num_shards=12, output_dir=str(small_disk / "out"))
    check_full_disk(values, tmp_path)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    prepare(values, tmp_path)
    assert digests(small_disk / "out") == expected


def test_a_disk_that_is_clearly_too_small_is_refused(tmp_path: Path, small_disk: Path) -> None:
    data = tmp_path / "a.jsonl"
    write_jsonl(data, documents(10))
    with data.open("a") as file:
        file.write('{"text": "' + "x" * 3_000_000 + '"}\n')
    done = prepare(config(tmp_path, data, output_dir=str(small_disk / "out")), tmp_path, code=3)
    assert re.search(r"has [1-9]\S* [kM]B free; this input needs at least [1-9]\S* [kM]B\n", done.stderr), done.stderr
    assert not list((small_disk / "out").rglob("*.bin"))


def test_a_shard_that_is_damaged_or_gone_is_made_again(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(200)))
    prepare(values, tmp_path)
    out = output(tmp_path / "out")
    expected = digests(tmp_path / "out")
    (out / "train" / "web_00001.bin").write_bytes(b"short")
    (out / "train" / "web_00002.idx").unlink()
    assert "1 of 3 shards are done already" in prepare(values, tmp_path).stderr
    assert digests(tmp_path / "out") == expected
    (out / "valid" / "web_00000.bin").unlink()  # its parts are gone: all shards are read once more
    prepare(values, tmp_path)
    assert digests(tmp_path / "out") == expected


def test_another_tokenizer_input_or_option_is_another_output(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "a.jsonl", documents(60))
    out, values = tmp_path / "out", config(tmp_path, data, num_shards=1)
    prepare(values, tmp_path)
    first = output(out)
    before = digests(out), {p: p.stat().st_mtime_ns for p in first.rglob("*") if p.is_file() and p.name != "lock"}
    make_tokenizer(tmp_path / "other", vocab_size=350)
    seen = {first}
    changes: list[dict[str, Any]] = [{"tokenizer": str(tmp_path / "other")}, {"add_bos": True}, {"num_shards": 2}]
    for change in changes:
        done = prepare(values | change, tmp_path)
        root = output(out)
        assert root not in seen and done.stdout == f"{root}/blend.json\n"
        assert f"{out}/latest is {root.name} now" in done.stderr and first.name in done.stderr
        assert f"{root}/train/web_00000" in (out / "blend.json").read_text()
        seen.add(root)
    assert before[1] == {p: p.stat().st_mtime_ns for p in before[1]}

    assert "nothing to do" in prepare(values, tmp_path).stderr  # and the first is the newest again
    assert output(out) == first and digests(out) == before[0]
    write_jsonl(data, documents(61))
    prepare(values, tmp_path)
    assert output(out) not in seen


def test_the_newest_output_stays_so_until_another_is_complete(
    undisturbed: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    small = write_jsonl(tmp_path / "a.jsonl", documents(60))
    prepare(config(tmp_path, small), tmp_path)
    first = output(tmp_path / "out")
    process = started(config(tmp_path, undisturbed[0], num_shards=12), tmp_path, more_than=3)
    process.kill()
    process.communicate()
    assert output(tmp_path / "out") == first
    assert str(first) in (tmp_path / "out" / "blend.json").read_text()


def test_the_output_can_be_moved_with_its_names(tmp_path: Path) -> None:
    prepare(config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20))), tmp_path)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest" / "train").is_dir() and (tmp_path / "moved" / "blend.json").is_file()


@pytest.mark.parametrize("name", ["blend.json", "latest"])
def test_files_of_someone_else_are_left_alone(name: str, tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    assert "did not make" in prepare(values, tmp_path, code=2).stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name] and (tmp_path / "out" / name).read_text() == "mine"
    (tmp_path / "out" / name).unlink()
    prepare(values, tmp_path)
    root = output(tmp_path / "out")
    shutil.rmtree(root / ".data_prep")  # shards without anything that says what they are
    assert "did not make" in prepare(values, tmp_path, code=2).stderr


def test_two_runs_on_one_output_do_not_mix(undisturbed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data, expected = undisturbed
    values = config(tmp_path, data, num_shards=12)
    first = started(values, tmp_path)
    assert "another run is writing" in prepare(values, tmp_path, code=1).stderr
    (tmp_path / "go").touch()
    first.communicate(timeout=LIMIT_S)
    assert first.returncode == 0
    assert digests(tmp_path / "out") == expected


def test_it_works_from_wherever_recipes_is_copied(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)), num_shards=1)
    argv = command(values, tmp_path)
    source = Path(argv[1])
    code = tmp_path / "job" / "code"
    shutil.copytree(source.parent / "data_prep_lib", code / "data_prep_lib")
    shutil.copy(source, code)
    subprocess.run(
        [argv[0], str(code / source.name), *argv[2:]], check=True, cwd="/", timeout=LIMIT_S, capture_output=True
    )
