"""What the node agent knows of a backend: AutoModel's forms, a plain script's, and that nobody else knows them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import contract
from node_agent_lib import backends, chain, finish, spec

RECIPES = Path(__file__).parents[2] / "recipes"
AUTOMODEL, NONE = backends.get("automodel"), backends.get("none")
STEP = "2026 | INFO | root | step 7 | epoch 1 | loss 2.5 | lr 1.00e-05 | mem 3.10 GiB | tps 1e3(5e2/gpu)"
FORMS = re.compile(r"epoch_|Saving checkpoint|nemo_automodel|\btps\b")


@pytest.mark.parametrize(
    "path",
    [p for p in (RECIPES / "node_agent_lib").rglob("*.py") if p.parent.name != "backends"],
    ids=lambda path: path.stem,
)
def test_nothing_else_in_the_agent_names_automodels_forms(path: Path) -> None:
    assert FORMS.findall(path.read_text()) == []


def test_the_contract_has_the_names_of_all_backends() -> None:
    assert [backends.get(name).name for name in contract.BACKENDS] == list(contract.BACKENDS)


def test_jobs_from_before_the_key_are_automodels() -> None:
    assert backends.of({}) is AUTOMODEL
    assert backends.of({"backend": "none"}) is NONE


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("step 3 | loss 2.5 | lr 1e-3 | reward 7", {"step": 3, "loss": 2.5, "lr": 1e-3, "reward": 7}),
        ("12:00 my script: step 0 | loss nan", {"step": 0, "loss": None, "nonfinite": True}),
        ("step 3 | epoch 1 | loss 2", {"step": 3, "epoch": 1, "loss": 2}),
        ("step 3 | loss 2 | time 0.5 | note good", {"step": 3, "loss": 2}),  # `time` is the agent's own
        ("[val] step 3 | loss 2.25", {"step": 3, "name": "default", "val_loss": 2.25}),
    ],
)
def test_a_plain_scripts_steps(line: str, found: dict[str, object]) -> None:
    assert NONE.parse_metrics(line, 5.0) == {"time": 5.0, **found}


@pytest.mark.parametrize("line", ["", "step 5", "step 5 | lr 3", "a step | loss 2", "loss 2 | step 5"])
def test_other_lines_of_a_plain_script_are_not_steps(line: str) -> None:
    assert NONE.parse_metrics(line, 5.0) is None


def test_markers_let_every_line_through_that_is_parsed() -> None:
    for backend in (AUTOMODEL, NONE):
        assert backend.parse_metrics(STEP, 5.0) is not None
        assert any(marker in STEP.encode() for marker in backend.markers)
    save = "Saving checkpoint to /runs/a/epoch_0_step_9"
    assert AUTOMODEL.parse_saving(save) == "/runs/a/epoch_0_step_9"
    assert any(marker in save.encode() for marker in AUTOMODEL.markers)
    assert NONE.parse_saving(save) is None


def test_checkpoints_of_an_unknown_form_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "epoch_0_step_9").mkdir()
    assert backends.newest_checkpoint(AUTOMODEL, str(tmp_path)) == 9
    assert backends.newest_checkpoint(NONE, str(tmp_path)) is None


@pytest.mark.parametrize("backend", [AUTOMODEL, NONE])
def test_a_script_may_record_that_its_run_is_finished(tmp_path: Path, backend: backends.Backend) -> None:
    assert not backend.finished(str(tmp_path), 0.0)
    (tmp_path / "finished.json").write_text("{}")
    assert backend.finished(str(tmp_path), 0.0)
    assert not backend.finished(str(tmp_path), 2e9)


def test_exit_codes_that_are_final(tmp_path: Path) -> None:
    assert (set(AUTOMODEL.final_codes), set(NONE.final_codes)) == ({2, 3, 4}, {2})
    assert AUTOMODEL.final_codes == contract.FINAL_CODES


def test_the_order_names_the_backend(tmp_path: Path) -> None:
    order = {"job_id": "a.1", "run_dir": str(tmp_path), "backend": "none"}
    (tmp_path / "agent.json").write_text(json.dumps(order))
    found = chain.order(str(tmp_path))
    assert found is not None
    assert found.backend is NONE


def test_an_unknown_backend_is_refused_by_the_agents_and_still_gets_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({"job_id": "a.1", "run_dir": str(tmp_path), "backend": "megatron"}))
    with pytest.raises(spec.SpecError, match=r'backend: expected "automodel" or "none"|missing key'):
        spec.load(str(path))
    assert finish.main(str(tmp_path), 2) == 2
    assert json.loads((tmp_path / "exit.json").read_text())["state"] == "FAILED"
