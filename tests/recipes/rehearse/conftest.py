"""One process with AutoModel imported, this one, which forks a child for every case: a case costs about a second.

tests/backends/automodel/test_memory_judge.py has the fixture, too, and tests/balance.py the same process for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "recipes"))

from tests.recipes.rehearse.cases import Stage, share  # noqa: E402
from tests.recipes.rehearse.forks import Forks  # noqa: E402


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """What stands in for the worker: the same children, forked from here.

    As a worker it has one thread, since a pool of them, which other tests may have started, survives no fork; and it
    asks no hub, and leaves no compiled modules.
    """
    import huggingface_hub.constants
    import torch
    from pretrain_lib import collector
    from rehearse_lib import removal, worker

    with collector.off():
        for name in worker.MODULES:
            importlib.import_module(name)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(1)
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(removal, "SECONDS", 300.0)  # a busy machine names the same keys as a quiet one
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield Forks(tmp_path_factory.mktemp("rehearsal").resolve())
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Data and a tokenizer that every case may name."""
    return share(tmp_path_factory.mktemp("cases"))
