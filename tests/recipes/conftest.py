"""Data and one undisturbed run, made once for all tests that need a trained model or its checkpoints."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recipes.hook_server import Hook, served
from tests.recipes.pretrain_fixtures import SMALL, Run, start, write_config, write_data


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in the places where the configs look for it."""
    directory = tmp_path_factory.mktemp("data")
    write_data(directory)
    return directory


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Run:
    """12 steps that nothing disturbs, with checkpoints of steps 4, 9 and 11; copy it before changing anything.

    One run for all of xdist's workers: it costs an import of AutoModel, unless the worker has trained before.
    """
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "whole"
    told = directory.with_suffix(".json")
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            run = start(write_config("tiny", directory, data_dir, SMALL), processes=2)
            told.write_text(json.dumps([run.code, run.output]))
    code, output = json.loads(told.read_text())
    return Run(code, output, directory)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A server that takes what is posted."""
    with served() as told:
        yield told
