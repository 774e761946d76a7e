"""What the tests of executors share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A checkout with the recipe `stub`."""
    return make_bench(tmp_path)
