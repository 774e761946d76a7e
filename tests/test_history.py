"""The launcher's view of a run's attempts and of bad nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import bad_nodes, history, slurm
from automodel_launch.places import HERE
from automodel_launch.slurm import Own, judge, parse


def _write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_attempts_and_their_table(tmp_path: Path) -> None:
    one = {"job_id": "a.1", "attempt": 0}
    _write(
        tmp_path / "history.jsonl",
        {"event": "begun", "time": 10.0, **one, "slurm_id": "7", "nodes": ["c1", "c2"], "checkpoint": None},
        {"event": "ended", "time": 20.0, **one, "slurm_id": "7", "state": "CANCELLED", "goes_on": True, "why": "?"},
        {"event": "ended", "time": 21.0, **one, "slurm_id": "7", "state": "NODE_FAIL", "from_step": 0, "to_step": 8}
        | {"goes_on": True, "why": "a node failed"},
        {"event": "begun", "time": 30.0, **one, "attempt": 1, "slurm_id": "8", "nodes": [f"c{i}" for i in range(9)]},
    )
    first, second = history.attempts(str(tmp_path), HERE)
    assert (first["began"], first["ended"], first["state"]) == (10.0, 21.0, "NODE_FAIL")
    assert "state" not in second
    lines = history.table([first, second])
    for word in ("a.1 attempt 1 (Slurm 7)", "on c1,c2", "steps 0 to 8", "NODE_FAIL", "then the next: a node failed"):
        assert word in lines[0]
    assert "c0 and 8 more" in lines[1]
    assert history.attempts(str(tmp_path / "none"), HERE) == []


def test_bad_nodes_now(tmp_path: Path) -> None:
    day = 24 * 3600.0
    _write(
        tmp_path / "bad-nodes.jsonl",
        {"time": 0.0, "node": "old", "why": "lost", "job_id": "a.1"},
        {"time": day, "node": "c2", "why": "lost", "job_id": "a.1"},
        {"time": day, "node": "c1", "why": "Xid 79", "job_id": "a.2"},
        {"time": day + 5, "node": "c2", "forgiven": True},
        {"node": 3},
    )
    (found,) = bad_nodes.known(str(tmp_path), HERE, day + 10)
    assert (found.node, found.until, found.why) == ("c1", 2 * day, "Xid 79")


ENDED = (
    "squeue 1 slurm_load_jobs error: Invalid job id specified\nscontrol 0 JobId=7 JobName=a.1 JobState={} ExitCode=1:0"
)


@pytest.mark.parametrize(
    ("following", "state"),
    [
        ("squeue 0 PENDING|Dependency|N/A||a.1", "PENDING"),
        ("squeue 0 RUNNING|None|N/A|c3|a.1", "RUNNING"),
        (ENDED.format("CANCELLED"), "FAILED"),
        (ENDED.format("COMPLETED"), "COMPLETED"),
        ("squeue 1 slurm_load_jobs error: Invalid job id specified", "FAILED"),
        ("squeue 1 Unable to contact slurm controller", None),
    ],
)
def test_the_next_job_of_a_chain_counts(following: str, state: str | None) -> None:
    text = ENDED.format("FAILED") + f"\nnext\n{following}\nown exit \n"
    assert parse(text, "a.1").state == state


def test_between_two_attempts() -> None:
    record = {"state": "FAILED", "code": 1, "complete": True, "goes_on": True, "why": "a node failed", "error": "x"}
    own = Own(exit=record, node={"attempt": 0})
    waiting = judge(slurm.Answer(True, "PENDING", "Resources"), own)
    assert waiting.state == "PENDING"
    assert waiting.error == "attempt 1 has ended (a node failed), the next one: Resources"
    assert judge(slurm.Answer(False), own).state == "UNKNOWN"  # the next attempt may run meanwhile
    stopped = Own(exit=record, node={"attempt": 0}, stopped=True)
    assert judge(slurm.Answer(True, "FAILED", code=1), stopped).state == "CANCELLED"
    assert judge(slurm.Answer(True, "FAILED", code=1), own).state == "FAILED"
