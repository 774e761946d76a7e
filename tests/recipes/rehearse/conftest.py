"""One process with AutoModel imported, this one, which forks a child for every case: a case costs about a second."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "recipes"))

from tests.recipes.rehearse.cases import Stage, share  # noqa: E402
from tests.recipes.rehearse.forks import Forks  # noqa: E402


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Forks:
    """What stands in for the worker: the same children, forked from here."""
    from rehearse_lib import worker

    for name in worker.MODULES:
        importlib.import_module(name)
    return Forks(tmp_path_factory.mktemp("rehearsal").resolve())


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Data and a tokenizer that every case may name."""
    return share(tmp_path_factory.mktemp("cases"))
