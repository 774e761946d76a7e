"""Two runs that would save in one directory on this machine are found while the first one runs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from automodel_launch import contract
from automodel_launch.checks import machine
from automodel_launch.remote import processes
from tests.backends.automodel.test_checks_schema import base
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains()


def test_a_job_of_another_run_that_saves_there_now(bench: Bench, tmp_path: Path) -> None:
    """This process stands for its agent; one that is over, and a directory of the run's own, are none."""
    text = json.dumps(base() | {"checkpoint": {"enabled": True, "checkpoint_dir": f"{tmp_path}/saved"}})
    plan = bench.planned(text)
    assert list(machine.one_run(plan)) == []
    other = Path(plan.job_root, "other.1")
    (other / "nodes").mkdir(parents=True)
    (other / contract.AGENT).write_text(json.dumps({"checkpoint_dir": f"{tmp_path}/saved"}))
    node = {"host": socket.gethostname(), "agent_pid": os.getpid(), "agent_start": processes.start_time(os.getpid())}
    (other / contract.node_file(0)).write_text(json.dumps(node))
    (found,) = machine.one_run(plan)
    assert (found.level, found.code) == ("error", "run-active")
    assert f"other.1 of another run is saving in {tmp_path}/saved" in found.message
    assert list(machine.one_run(bench.planned(text, "checkpoint.checkpoint_dir=${run.dir}/checkpoints"))) == []
    (other / contract.node_file(0)).write_text(json.dumps({**node, "agent_pid": 2**22 + 1}))
    assert list(machine.one_run(plan)) == []
