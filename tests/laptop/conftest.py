"""The laptop, one a file of tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.laptop import machine
from tests.laptop.machine import Laptop


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """A laptop without /proc, with a checkout."""
    missing = machine.missing()
    if missing:
        message = f"needs {missing}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return Laptop(Path(tmp_path_factory.mktemp("machine")) / "laptop")
