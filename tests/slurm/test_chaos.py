"""Chaos for some minutes (CHAOS_SEED, CHAOS_MINUTES, CHAOS_KINDS say how); scripts/chaos is the same by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.slurm.chaos.session import Session
from tests.slurm.conftest import DAEMONS, need

pytestmark = [pytest.mark.slurm, pytest.mark.e2e, pytest.mark.slow]

MINUTES = float(os.environ.get("CHAOS_MINUTES", "10"))


@pytest.mark.timeout(60 * MINUTES + 900)
def test_nothing_is_lost_and_nothing_untrue(tmp_path: Path) -> None:
    need(os.getuid() == 0, "root")
    need(all(shutil.which(name, path=DAEMONS) for name in ("slurmctld", "slurmdbd", "mariadbd")), "Slurm and mariadb")
    kinds = [name for name in os.environ.get("CHAOS_KINDS", "").split(",") if name]
    session = Session(int(os.environ.get("CHAOS_SEED", "1")), kinds, tmp_path / "kept")
    tally = session.run(MINUTES)
    assert tally.clean, tally.summary(MINUTES)
