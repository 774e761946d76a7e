"""One place for all launches of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.launching import Place, place


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("fuzz")) as found:
        yield found
