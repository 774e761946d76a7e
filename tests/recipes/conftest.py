"""Data and one undisturbed run, made once for all tests that need a trained model or its checkpoints."""

from __future__ import annotations

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
    """12 steps that nothing disturbs, with checkpoints of steps 4, 9 and 11; copy it before changing anything."""
    config = write_config("tiny", tmp_path_factory.mktemp("whole"), data_dir, SMALL)
    return start(config, processes=2)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A server that takes what is posted."""
    with served() as told:
        yield told
