"""The node agent and the data of a run: recorded at its beginning, compared before an attempt starts a rank."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract, data_identity
from tests.recipes.test_node_agent import Job, make_job
from tests.workbench import write_pair

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes"))

from node_agent_lib.decision import Limits, decide
from node_agent_lib.history import Ended

__all__ = ["make_job"]  # the fixture


@pytest.fixture
def blend(tmp_path: Path) -> Path:
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"train": ["1", write_pair(tmp_path / "web", [1, 2, 3])]}))
    return path


@pytest.fixture
def job(make_job: Callable[..., Job], blend: Path) -> Callable[..., Job]:
    """A job of the run `run` whose script ends at once, and that trains on that blend."""

    def make(name: str = "a", allow: Any = None, named: Any = None, **changes: Any) -> Job:
        made = make_job("ends.py", "0", "0", name=name, **changes)
        made.spec["run_dir"] = str(blend.parent / "run")
        named = named or [["megatron", str(blend)]]
        made.spec["data"] = {"named": named, "allow": allow, "caches": [f"{made.spec['run_dir']}/index", "/tmp"]}
        return made

    return make


def record(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(job.spec["run_dir"], contract.DATA).read_text())
    return found


def started(job: Job) -> bool:
    return (job.dir / contract.rank_log(0)).exists()


def test_the_first_attempt_records_the_data_and_the_next_ones_compare(job: Callable[..., Job], blend: Path) -> None:
    first, second, third = (job(name) for name in "abc")
    assert first.run()[0] == 0
    assert set(record(first)) == set(contract.DATA_KEYS) and record(first)["job_id"] == "a-1"
    assert record(first)["digest"] == data_identity.look([["megatron", str(blend)]], [])["digest"]
    assert second.run()[0] == 0 and record(second)["job_id"] == "a-1"
    write_pair(blend.parent / "web", [1, 2, 3, 4])
    code, said = third.run()
    assert code == contract.DATA_CHANGED and not started(third)
    error = third.exit["error"]
    assert third.exit["state"] == "FAILED" and error in said
    assert f"{blend.parent}/web: 6 + " in error and "now 8 + " in error and "run.data_changed=allow" in error
    assert record(third)["job_id"] == "a-1"


def test_a_chain_does_not_try_it_again() -> None:
    end = Ended(1, contract.FAILED, contract.DATA_CHANGED, "the data are not those that the run began with: x")
    decision = decide([end], Limits(None, 3), finished=False, stopped=None)
    assert not decision.goes_on and "other data" in decision.why


@pytest.mark.parametrize("seen", [True, False])
def test_on_purpose_and_once_only(seen: bool, job: Callable[..., Job], blend: Path) -> None:
    assert job("a").run()[0] == 0
    index = blend.parent / "run" / "index" / "train"
    index.mkdir(parents=True)
    former = record(job("x"))["digest"]
    write_pair(blend.parent / "web", [1, 2, 3, 4])
    allow = data_identity.look([["megatron", str(blend)]], [])["digest"] if seen else True
    second = job("b", allow=allow)
    code, said = second.run()
    assert code == 0 and "run.data_changed=allow" in said
    assert record(second)["before"] == [former] and record(second)["job_id"] == "b-1"
    assert not index.exists() and Path("/tmp").exists()  # an index of the former data; nothing outside the run
    write_pair(blend.parent / "web", [1, 2])
    second.environ["LAUNCH_ATTEMPT"] = "1"
    assert second.run()[0] == contract.DATA_CHANGED


def test_phases_to_come_may_change_and_those_that_are_over_may_not(job: Callable[..., Job], blend: Path) -> None:
    write_pair(blend.parent / "code", [1, 2])
    checkpoints = blend.parent / "run" / "checkpoints"

    def phased(name: str, second: str, first_step: int) -> Job:
        named = [["megatron@0", str(blend)], [f"megatron@{first_step}", [str(blend.parent / second)]]]
        made = job(name, named=named)
        made.spec |= {"backend": contract.AUTOMODEL, "checkpoint_dir": str(checkpoints)}
        return made

    assert phased("a", "web", 10).run()[0] == 0
    saved = checkpoints / "epoch_0_step_9"  # steps 0 to 9 are done
    saved.mkdir(parents=True)
    code, said = phased("b", "code", 10).run()
    assert code == 0 and "in phases that the run has not come to" in said
    changed = phased("c", "code", 8)
    code, said = changed.run()
    assert code == contract.DATA_CHANGED and "code (4 + " in said and "is new" in said, said
    (checkpoints / "epoch_0_step_10").mkdir()
    refused = phased("d", "web", 10)
    assert refused.run()[0] == contract.DATA_CHANGED and not started(refused)
    assert phased("e", "code", 10).run()[0] == 0
    saved.rename(checkpoints / "x")
    (checkpoints / "epoch_0_step_10").rename(checkpoints / "y")
    write_pair(blend.parent / "web", [1, 2, 3, 4])
    assert (
        phased("f", "code", 10).run()[0] == contract.DATA_CHANGED
    )  # without a checkpoint, those of the first phase count


def test_a_variable_that_only_the_job_has(job: Callable[..., Job], blend: Path) -> None:
    first = job("a", named=[["megatron", "${oc.env:BLEND}"]], startup_commands=[f"export BLEND={blend}"])
    assert first.run()[0] == 0 and len(record(first)["rows"]) == 1
    other = job("b", named=[["megatron", "${oc.env:NONE,/no/blend.json}"]])
    code, said = other.run()  # the training says what is missing
    assert code == 0 and "/no/blend.json: No such file" in said and started(other)


def test_an_order_without_data_records_none(make_job: Callable[..., Job]) -> None:
    plain = make_job("ends.py", "0", "0")
    assert plain.run()[0] == 0
    assert not Path(plain.spec["run_dir"], contract.DATA).exists()
