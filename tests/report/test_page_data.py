"""The data of a page equal what the run has logged; odd runs have a page too."""

from __future__ import annotations

import copy
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.report import differences, page, page_data, reading
from tests.report.test_run import RECORDED, lines, record_of

NASTY = "a</script><script>document.title='broken'</script><!--<b>&amp;"


def view(root: Path = RECORDED, job_id: str = "demo.2") -> page_data.View:
    return page_data.View(reading.read(record_of(root, job_id), LOCAL), "COMPLETED")


def logged(root: Path, rows: list[dict[str, Any]]) -> page_data.View:
    """A run of one job that has logged these rows."""
    Path(root, "x.1").mkdir()
    Path(root, "x.1", contract.METRICS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return view(root, "x.1")


def curve(run: dict[str, Any], chart: str, kind: str) -> dict[str, Any]:
    (found,) = [each for each in run["curves"][chart] if each["kind"] == kind]
    return dict(found)


class Embedded(HTMLParser):
    """The JSON of a page, and how many scripts a browser sees in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.text, self._inside = 0, "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self._inside = ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def test_the_numbers_of_the_page_are_those_of_metrics_jsonl() -> None:
    (run,) = json.loads(Embedded(page.html(page_data.document([view()], 1.0))).text)["runs"]
    rows = [*lines("demo.1/metrics.jsonl"), *lines("demo.2/metrics.jsonl")]
    last = {row["step"]: row for row in rows if "loss" in row}
    for chart in ("loss", "tps", "grad_norm", "lr"):
        found = curve(run, chart, "raw")
        assert dict(zip(found["step"], found["value"], strict=True)) == {s: row[chart] for s, row in last.items()}
        assert found["time"] == [last[step]["time"] for step in found["step"]]
        assert found["tokens"][-1] == sum(row["num_label_tokens"] for row in last.values())
    validated = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    found = curve(run, "loss", "validation")
    assert dict(zip(found["step"], found["value"], strict=True)) == validated
    assert run["curves"]["mem_gib"] == []  # zero throughout: no GPU


def test_the_attempts_of_the_page_are_those_of_the_history() -> None:
    (run,) = page_data.document([view()], 1.0)["runs"]
    ends = [entry for entry in lines("demo/history.jsonl") if entry["event"] == "ended"]
    told = [(each["state"], each["from_step"], each["to_step"], each["why"]) for each in run["attempts"]]
    assert told == [(end["state"], end["from_step"], end["to_step"], end["error"]) for end in ends]
    for attempt in run["attempts"]:
        within = [part for part in attempt["segments"] if part["kind"] in ("startup", "steps", "lost_steps", "idle")]
        assert within[0]["start"] == attempt["began"]
        assert within[-1]["end"] == pytest.approx(attempt["seen"], abs=0.01)
    lost = [[part["kind"] for part in each["segments"]].count("lost_steps") for each in run["attempts"]]
    assert lost == [1, 0, 0]


def test_no_text_breaks_out_of_the_page() -> None:
    plain = view()
    nasty = copy.deepcopy(plain)
    nasty.files.name = nasty.state = NASTY
    nasty.files.attempts[0]["error"] = NASTY
    texts = [page.html(page_data.document([each], 1.0)) for each in (plain, nasty)]
    assert Embedded(texts[1]).scripts == Embedded(texts[0]).scripts == 3
    assert json.loads(Embedded(texts[1]).text)["runs"][0]["name"] == NASTY
    assert NASTY not in texts[1]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "time": 5.0, "loss": 1.5}],
        [{"step": 0, "time": 5.0, "loss": None}, {"step": 1, "time": 6.0, "loss": None}],
        [{"step": 0, "time": 5.0, "loss": 1.5}, {"step": 1, "time": 6.0, "loss": None, "lr": 1}],
        [{"step": 3, "time": 5.0, "val_loss": 1.5, "name": "wiki"}],
    ],
    ids=["nothing", "one-step", "no-number", "a-gap", "validation-alone"],
)
def test_odd_runs_have_a_page(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (run,) = page_data.document([logged(tmp_path, rows)], 1.0)["runs"]
    assert page.html({"runs": [run]})
    finite = [row["loss"] for row in rows if row.get("loss") is not None]
    assert [v for each in run["curves"]["loss"] if each["kind"] == "raw" for v in each["value"]] == finite
    assert run["not_finite"]["count"] == sum("loss" in row and row["loss"] is None for row in rows)


def test_a_long_run_is_thinned(tmp_path: Path) -> None:
    rows = [{"step": step, "time": float(step), "loss": 9.0 - step / 1e4, "tps": 5.0} for step in range(9000)]
    rows[4321]["loss"] = 99.0
    (run,) = page_data.document([logged(tmp_path, rows)], 1.0)["runs"]
    found = curve(run, "loss", "raw")
    assert len(found["value"]) <= 4000
    assert (found["step"][0], found["step"][-1], max(found["value"])) == (0, 8999, 99.0)


def test_what_differs_between_jobs_and_runs() -> None:
    one = view()
    one.files.jobs[0].plan = {"job_id": "demo.1", "config": {"optimizer": {"lr": 0.1}, "out": "/runs/demo.1"}}
    one.files.jobs[1].plan = {"job_id": "demo.2", "config": {"optimizer": {"lr": 0.2}, "out": "/runs/demo.2"}}
    one.files.jobs[1].plan["provenance"] = {"optimizer.lr": "override optimizer.lr=0.2", "out": "config"}
    other = copy.deepcopy(one)
    other.files.jobs[1].plan["nodes"] = 4
    other.commits["demo.2"] = "abc"
    found = page_data.document([one, other], 1.0)
    assert found["runs"][0]["changes"][0]["rows"] == [{"key": "optimizer.lr", "values": [0.1, 0.2]}]
    assert found["runs"][0]["plan"]["overrides"] == [{"key": "optimizer.lr", "value": 0.2}]
    assert found["differences"] == [
        {"key": "nodes", "values": [None, 4]},
        {"key": "commit", "values": [None, "abc"]},
    ]


def test_directories_of_the_run_itself_do_not_differ() -> None:
    plans = [
        {
            "job_id": f"{run}.1",
            "run_name": run,
            "config": {"out": f"/runs/{run}/x", "log": f"/runs/{run}.1", "word": word},
        }
        for run, word in (("a", "banana"), ("b", "banana"))
    ]
    assert differences.rows([differences.facts(plan) for plan in plans]) == []
    plans[1]["config"]["out"] = "/other/b/x"  # type: ignore[index]
    assert [row["key"] for row in differences.rows([differences.facts(plan) for plan in plans])] == ["out"]


def _samples(root: Path, count: int, ranks: int) -> list[dict[str, Any]]:
    """Rank 1 is slow in all of them; rank 2 was not measured in the second one."""
    rows = []
    for number in range(count):
        told = [[rank, 0.4 if rank == 1 else 0.1 + rank / 10000] for rank in range(ranks) if (rank, number) != (2, 1)]
        rows.append({"time": 5.0, "step": 10 * number, "step_s": 0.5, "median_s": 0.1, "ranks": told})
    Path(root, "x.1", contract.RANK_TIMES).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return rows


def test_ranks_by_samples(tmp_path: Path) -> None:
    logged(tmp_path, [{"step": 0, "time": 1.0, "loss": 2.0}])
    assert page_data.document([view(tmp_path, "x.1")], 9.0)["runs"][0]["rank_times"] is None
    rows = _samples(tmp_path, 3, 3)
    found = page_data.document([view(tmp_path, "x.1")], 9.0)["runs"][0]["rank_times"]
    assert found["steps"] == [0, 10, 20]
    assert [row["rank"] for row in found["ranks"]] == [0, 1, 2]
    assert found["ranks"][1]["times"] == [dict(row["ranks"])[1] for row in rows]
    assert found["ranks"][2]["times"][1] is None


def test_of_many_ranks_and_samples_the_slowest_and_some(tmp_path: Path) -> None:
    logged(tmp_path, [{"step": 0, "time": 1.0, "loss": 2.0}])
    _samples(tmp_path, 500, 64)
    with Path(tmp_path, "x.1", contract.RANK_TIMES).open("a") as file:
        file.write('{"step": 3, "ranks": [[0, 1.0]]}\n{"step": 3, "ranks": "x"}\nnull\n{"time"')
    found = page_data.document([view(tmp_path, "x.1")], 9.0)["runs"][0]["rank_times"]
    assert (len(found["ranks"]), found["of"], len(found["steps"])) == (16, 64, 24)
    assert (found["steps"][0], found["steps"][-1]) == (0, 4990)
    assert {row["rank"] for row in found["ranks"]} == {1, *range(49, 64)}


def test_evaluations_and_phases_of_the_data_are_curves_and_stretches(tmp_path: Path) -> None:
    rows = [{"step": s, "time": 5.0 + s, "loss": 2.0 - s / 10, "num_label_tokens": 100} for s in range(10)]
    folder = tmp_path / "x" / "checkpoints" / contract.EVALUATIONS
    folder.mkdir(parents=True)
    (tmp_path / "x.1").mkdir()
    (tmp_path / "x.1" / contract.METRICS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "x.1" / contract.AGENT).write_text(json.dumps({"checkpoint_dir": str(folder.parent)}))
    told = [{"name": name, "data": data, "loss": loss} for name, data, loss in EVALUATED]
    (folder / "epoch_0_step_4.json").write_text(json.dumps({"results": [*told, "odd", {"loss": "1"}]}))
    (folder / "epoch_0_step_10.json").write_text(json.dumps({"results": [{**told[0], "loss": 0.5}]}))
    (folder / "epoch_0_step_7.json").write_text('{"results": ')
    (folder / f"epoch_0_step_7{contract.EVALUATION_JOB}").write_text("{}")
    seen = view(tmp_path, "x.1")
    seen.phases = [("web", 0, 6), ("anneal", 7, 9)]
    (run,) = page_data.document([seen], 1.0)["runs"]
    found = {each["label"]: each for each in run["curves"]["loss"] if each["kind"] == "evaluation"}
    assert set(found) == {"/a.json", "/b.json", "code"}
    assert (found["/a.json"]["step"], found["/a.json"]["value"]) == ([4, 10], [1.5, 0.5])
    assert (found["/a.json"]["time"], found["/a.json"]["tokens"]) == ([9.0, 14.0], [500.0, 1000.0])
    assert run["phases"] == [{"name": "web", "first": 0, "last": 6}, {"name": "anneal", "first": 7, "last": 9}]
    assert [each["loss"] for each in run["evaluations"]] == [1.5, 1.25, 3.0, 0.5]


EVALUATED = (("default", "/a.json", 1.5), ("default", "/b.json", 1.25), ("code", "", 3.0), ("gone", "", None))
