"""How a rank begins: no garbage collection while it imports, and data loader workers that import nothing."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

from pretrain_lib import collector

# AutoModel's package, of which it matters here only who imports it: each of them adds a line.
PACKAGE = "import os; print(os.getpid(), file=open(os.environ['IMPORTED'], 'a'))\n"
START = """
import json, multiprocessing, os, sys
def work(queue):
    name = "nemo_automodel.components.datasets.loader"
    queue.put((os.getppid(), name in sys.modules, os.environ["SET"]))
if __name__ == "__main__":
    os.environ["SET"] = "by the rank"
    import nemo_automodel.components.datasets.loader
    from pretrain_lib import loader_workers
    given, before = json.loads(sys.argv[1])
    if before:
        multiprocessing.set_start_method(before)
    class Config:
        get = staticmethod(lambda key, default: given.get(key, default))
    loader_workers.prepare(Config)
    method = multiprocessing.get_start_method(allow_none=True)
    seen = []
    if method == "forkserver" and not before:
        queue = multiprocessing.Queue()
        workers = [multiprocessing.Process(target=work, args=(queue,)) for _ in range(3)]
        [worker.start() for worker in workers]
        seen = [queue.get() for _ in workers]
        [worker.join() for worker in workers]
    print(json.dumps([os.getpid(), method, seen]))
"""


@pytest.fixture
def collecting() -> Iterator[None]:
    """Python's garbage collector as it was, afterwards."""
    was_on = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize("on", [True, False])
def test_nothing_is_collected_meanwhile_nor_looked_through_again(collecting: None, on: bool) -> None:
    (gc.enable if on else gc.disable)()
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), collector.off():
        assert not gc.isenabled()
        made = [[]]  # type: ignore[var-annotated]
        raise ImportError
    assert gc.isenabled() == on
    assert gc.get_freeze_count() > before
    assert not any(found is made for found in gc.get_objects())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere AutoModel's own way stays")
def test_workers_have_what_one_process_has_imported(tmp_path: Path) -> None:
    (rank, method, seen), imported = _start(tmp_path, {"validation_dataloader.num_workers": 2})
    server = {parent for parent, _, _ in seen}
    assert method == "forkserver"
    assert server.isdisjoint({rank}) and len(server) == 1
    assert [(there, told) for _, there, told in seen] == [(True, "by the rank")] * 3
    assert imported == [rank, *server]


@pytest.mark.parametrize(
    ("given", "before"), [({}, None), ({"dataloader.num_workers": 0}, None), ({"dataloader.num_workers": 2}, "spawn")]
)
def test_there_is_no_server_where_it_has_no_use_or_another_way_was_chosen(
    tmp_path: Path, given: dict[str, int], before: str | None
) -> None:
    (rank, method, _), imported = _start(tmp_path, given, before)
    assert (method, imported) == (before, [rank])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere AutoModel's own way stays")
def test_where_no_server_can_be_started_the_training_goes_on_as_it_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("far" * 40)  # a socket's path has 107 bytes
    far.mkdir()
    monkeypatch.setenv("TMPDIR", str(far))
    (rank, method, _), imported = _start(tmp_path, {"dataloader.num_workers": 2})
    assert (method, imported) == ("spawn", [rank])


def _start(directory: Path, given: dict[str, int], before: str | None = None) -> tuple[Any, list[int]]:
    """What START says, and who has imported the package."""
    folder = directory
    for name in ("nemo_automodel", "components", "datasets"):
        folder = folder / name
        folder.mkdir()
        (folder / "__init__.py").touch()
    (folder / "loader.py").write_text(PACKAGE)
    (directory / "start.py").write_text(START)
    paths = os.pathsep.join([str(directory), str(ROOT / "recipes")])
    done = subprocess.run(
        [sys.executable, str(directory / "start.py"), json.dumps([given, before])],
        env={**os.environ, "PYTHONPATH": paths, "IMPORTED": str(directory / "imported")},
        capture_output=True, text=True, check=True, timeout=LIMIT_S,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1]), [
        int(line) for line in (directory / "imported").read_text().split()
    ]
