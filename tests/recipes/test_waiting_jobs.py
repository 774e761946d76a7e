"""Jobs that wait for a run's end, as its last attempt sees them: Slurm's commands are fakes, the files are real."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.chain_site import LIMITS, Site

# isort: split
from node_agent_lib import begin, finish, predecessors, successors

ENDED = {"event": "ended", "time": 1.0, "job_id": "a.1", "attempt": 0, "state": "COMPLETED"}


class Place(Site):
    """A run `a`, and jobs that wait for it."""

    def waits(self, name: str, *runs: str, history_bytes: int = 0, any_of: bool = False) -> Path:
        """A job that waits for these runs, or takes any of them; it stands in the queue under a number of its own."""
        jobs = self.job.parent
        folder = jobs / f"{name}.1"
        folder.mkdir()
        (folder / "agent.json").write_text(json.dumps({"job_id": f"{name}.1", "run_dir": str(jobs / name)}))
        rows = []
        for run in runs:
            row = {"run_name": run, "run_dir": str(jobs / run), "job_id": f"{run}.1", "job_dir": str(jobs / f"{run}.1")}
            rows.append({**row, "history_bytes": history_bytes, **({"any_end": True} if any_of else {})})
            notes = jobs / run / "after"
            notes.mkdir(parents=True, exist_ok=True)
            (notes / f"{name}.1.json").write_text(json.dumps({"job_id": f"{name}.1", "job_dir": str(folder)}))
        (folder / "after.json").write_text(json.dumps({"runs": rows}))
        choice = {"sweep": "s", "link": None, "all": False, "runs": rows}
        if any_of:
            (folder / "choices.json").write_text(json.dumps({"choices": [choice]}))
        return folder

    def queue(self, **jobs: Path) -> None:
        rows = [f"{number[1:]}|{folder}/script|{folder}|{folder.name}" for number, folder in jobs.items()]
        self.says("squeue", "cat <<'END'\n" + "\n".join(rows) + "\nEND")

    def notes(self, run: str = "a") -> list[str]:
        return sorted(path.name for path in (self.job.parent / run / "after").iterdir())

    def writes(self, run: str, **values: Any) -> None:
        with (self.job.parent / run / "history.jsonl").open("a") as file:
            file.write(json.dumps({**ENDED, **values}) + "\n")

    def settled(self, completed: bool) -> list[str]:
        """What was asked of Slurm by it, but for questions; what was said."""
        said: list[str] = []
        successors.settle(str(self.run), completed, "a.1 (FAILED: no more data)", said.append)
        asked = [call for call in self.calls if not call.startswith("squeue")]
        (self.bin / "calls").unlink(missing_ok=True)
        return [*asked, *said]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(successors, "_EVERY_S", 0.0)
    return Place(tmp_path, LIMITS)


def test_those_that_waited_for_this_run_alone_are_let_go(place: Place) -> None:
    one, two = place.waits("b", "a"), place.waits("c", "a", "d")
    place.queue(n5=one, n6=two, n7=place.job)
    place.writes("a")
    assert place.settled(True) == ["scontrol release 5"]
    assert place.notes() == ["c.1.json"]
    place.writes("d", why="the run is finished", state="FAILED")
    assert place.settled(True) == ["scontrol release 6"]
    assert (place.notes(), place.settled(True)) == ([], [])


@pytest.mark.parametrize("code", [0, 7])
def test_a_run_whose_disk_had_room_for_its_nodes_records_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Neither exit.json nor a line of the history tells of its end, which its nodes do."""
    one = place.waits("b", "a")
    place.queue(n5=one)
    place.node(0, state="training")
    assert place.settled(True) == [] and len(predecessors.unfinished(str(one))) == 1
    place.node(0, code=code)

    def full(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finish, "create_json", full)
    monkeypatch.setattr(finish, "_LATE_NODES_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "4")
    monkeypatch.setenv("LAUNCH_ATTEMPT", "0")
    assert finish.main(str(place.job), code) == code
    assert ("scontrol release 5" in place.calls, place.notes()) == ((True, []) if code == 0 else (False, ["b.1.json"]))


def test_one_that_has_begun_is_nobodys_any_more(place: Place) -> None:
    """Its further attempts wait in the queue as well."""
    one = place.waits("b", "a")
    (one / "chain").write_text("5 8 0 9\n")
    place.queue(n8=one)
    assert (place.settled(False), place.notes()) == ([], [])
    assert not (one / "exit.json").exists()


def test_a_failure_cancels_those_that_wait_and_those_that_wait_for_them(place: Place) -> None:
    one, two = place.waits("b", "a"), place.waits("c", "b")
    (one / "secrets.env").write_text("A=1")
    place.queue(n5=one, n6=two)
    assert place.settled(False) == ["scancel --state=PENDING 5", "scancel --state=PENDING 6"]
    ends = [json.loads((folder / "exit.json").read_text()) for folder in (one, two)]
    assert [end["error"] for end in ends] == [
        "it was to follow a.1 (FAILED: no more data)",
        "it was to follow b.1 (CANCELLED)",
    ]
    assert {end["state"] for end in ends} == {"CANCELLED"}
    assert (place.notes(), place.notes("b"), (one / "secrets.env").exists()) == ([], [], False)


def test_what_takes_any_point_is_cancelled_where_none_has_completed(place: Place) -> None:
    """With those that wait for it; and let go where one has, whichever ends last."""
    one, two = place.waits("b", "a", "d", any_of=True), place.waits("c", "b")
    place.queue(n5=one, n6=two)
    assert (place.settled(False), place.notes()) == ([], ["b.1.json"])  # one point has not ended
    predecessors.note_failure(str(one), str(place.job.parent / "d"))
    assert place.settled(False) == ["scancel --state=PENDING 5", "scancel --state=PENDING 6"]
    said = "it was to follow any point of sweep s, and none has completed: a, d"
    assert json.loads((one / "exit.json").read_text())["error"] == said
    assert place.notes() == []
    other = place.waits("e", "a", "d", any_of=True)
    place.queue(n7=other)
    place.writes("d")
    assert place.settled(False) == ["scontrol release 7"]


@pytest.mark.parametrize("completed", [True, False])
def test_one_that_is_being_submitted_keeps_its_note(place: Place, completed: bool) -> None:
    """Its launcher looks once more when Slurm has it, and does what is to be done."""
    one = place.waits("b", "a")
    place.queue(n7=place.job)
    place.writes("a")
    assert (place.settled(completed), place.notes()) == ([], ["b.1.json"])
    assert not (one / "exit.json").exists()


def test_a_pause_is_no_end(place: Place) -> None:
    place.queue(n5=place.waits("b", "a"))
    (place.run / "stop").touch()
    assert (place.settled(False), place.notes()) == ([], ["b.1.json"])


def test_slurmctld_is_asked_until_it_answers(place: Place) -> None:
    one = place.waits("b", "a")
    place.writes("a")
    place.queue(n5=one)
    answer = (place.bin / "squeue").read_text().partition("\n")[2].partition("\n")[2]
    tries = f"n=$(cat {place.bin}/n 2>/dev/null || echo 0); echo $((n + 1)) > {place.bin}/n; [ $n -ge 3 ] || exit 1\n"
    place.says("squeue", tries + answer)
    assert place.settled(True) == ["scontrol release 5"]
    assert (place.bin / "n").read_text().strip() == "4"


def test_what_slurm_refuses_is_said_once(place: Place) -> None:
    place.queue(n5=place.waits("b", "a"))
    place.writes("a")
    place.says("scontrol", "echo 'Access/permission denied' >&2; exit 1")
    asked, said = place.settled(True)
    assert (asked, "permission denied" in said) == ("scontrol release 5", True)
    assert place.notes() == ["b.1.json"]


@pytest.mark.parametrize("what", ["nothing", "an earlier end", "another job's end", "its own end", "in a minute"])
def test_nothing_begins_before_what_it_waits_for_has_completed(place: Place, what: str) -> None:
    if what == "an earlier end":
        place.writes("a")
    size = (place.run / "history.jsonl").stat().st_size if what == "an earlier end" else 0
    one = place.waits("b", "a", history_bytes=size)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if what == "in a minute" and len(waited) == 3:
            place.writes("a")

    if what == "another job's end":
        place.writes("a", job_id="a.2")
    if what == "its own end":
        (place.job / "exit.json").write_text(json.dumps({"state": "COMPLETED", "goes_on": False}))
    refused = predecessors.refusal(str(one), sleep)
    if what in ("nothing", "an earlier end"):
        assert refused == "it was to follow run a, and began before that had completed"
        assert sum(waited) == 60
    else:
        assert (refused, len(waited)) == (None, 3 if what == "in a minute" else 0)


def test_a_job_that_was_let_go_by_hand_leaves_a_record_of_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`begin` of its batch script; those that wait for it in turn are cancelled. Resumed in time, it begins."""
    last = place.waits("c", "a")
    place.queue(n6=last)
    runs = [
        {"run_name": "z", "run_dir": str(place.job.parent / "z"), "job_id": "z.1", "job_dir": "/z", "history_bytes": 0}
    ]
    (place.job / "after.json").write_text(json.dumps({"runs": runs}))
    monkeypatch.setattr(predecessors, "_SHOWS_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "c1")
    assert begin.main(str(place.job)) == 0
    assert capsys.readouterr().out.split("\n")[:2] == ["trap - EXIT", "exit 143"]
    assert "run z, and began before" in json.loads((place.job / "exit.json").read_text())["error"]
    assert json.loads((last / "exit.json").read_text())["state"] == "CANCELLED"
    assert not (place.job / "chain").exists()
    (place.job.parent / "z").mkdir()
    place.writes("z")
    assert begin.main(str(place.job)) == 0
    assert "export LAUNCH_ATTEMPT=0" in capsys.readouterr().out
    assert not (place.job / "exit.json").exists()
