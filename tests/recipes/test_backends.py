"""What the node agent knows of a backend: AutoModel's forms, a plain script's, and that nobody else knows them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import contract
from node_agent_lib import backends, chain, finish, spec
from node_agent_lib.metrics import Follower

RECIPES = Path(__file__).parents[2] / "recipes"
AUTOMODEL, NONE = backends.get("automodel"), backends.get("none")
MEGATRON = backends.get("megatron-bridge")
STEP = "2026 | INFO | root | step 7 | epoch 1 | loss 2.5 | lr 1.00e-05 | mem 3.10 GiB | tps 1e3(5e2/gpu)"
FORMS = re.compile(r"(?i)epoch_|saving checkpoint|nemo_automodel|\btps\b|iter_|lm loss|megatron")


@pytest.mark.parametrize(
    "path",
    [p for p in (RECIPES / "node_agent_lib").rglob("*.py") if p.parent.name not in ("backends", "known")],
    ids=lambda path: path.stem,
)
def test_nothing_else_in_the_agent_names_a_frameworks_forms(path: Path) -> None:
    assert FORMS.findall(path.read_text()) == []


def test_the_contract_has_the_names_of_all_backends() -> None:
    scripts = ("conversion", "curation", "export-check")  # to an agent
    own = [name for name in contract.BACKENDS if name not in scripts]
    assert [backends.get(name).name for name in own] == own


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


ITERATION = (
    " [2026-11-27 00:24:06] iteration       10/      60 | consumed samples:          160 |"
    " elapsed time per iteration (ms): 856.1 | throughput per GPU (TFLOP/s/GPU): 412.5 | learning rate: 2.963610E-03 |"
    " global batch size:    16 |{loss} loss scale: 1.0 | grad norm: 0.952 |"
    " number of skipped iterations: {skipped:3d} | number of nan iterations: {nan:3d} | tokens per second: 4784.5 |"
)
FIELDS = {
    **{"time": 5.0, "step": 9, "consumed_samples": 160, "step_s": pytest.approx(0.8561), "tflops_per_gpu": 412.5},
    **{"lr": 2.96361e-3, "global_batch_size": 16, "loss_scale": 1.0, "grad_norm": 0.952, "tps": 4784.5},
}


@pytest.mark.parametrize(
    ("loss", "skipped", "nan", "found"),
    [
        (" lm loss: 7.808372E+00 | mtp_1 loss: 8.1E+00 |", 0, 0, {"loss": 7.808372, "mtp_1_loss": 8.1}),
        (" lm loss: 7.808372E+00 |", 1, 2, {"loss": 7.808372}),  # over several iterations, of which two were NaN
        ("", 0, 1, {"loss": None, "nonfinite": True}),
        ("", 1, 0, {}),  # its loss scale was too large: no step
    ],
)
def test_megatrons_iterations(loss: str, skipped: int, nan: int, found: dict[str, object]) -> None:
    counts = {"skipped_iterations": skipped, "nan_iterations": nan}
    line = ITERATION.format(loss=loss, skipped=skipped, nan=nan)
    assert MEGATRON.parse_metrics(line, 5.0) == {**FIELDS, **counts, **found}


@pytest.mark.parametrize(
    ("where", "name"), [("", "default"), (" on validation set", "default"), (" on test set", "test")]
)
def test_megatrons_validation(where: str, name: str) -> None:
    line = f" validation loss at iteration 10{where} | lm loss value: 7.7E+00 | lm loss PPL: 2.2E+03 | "
    assert MEGATRON.parse_metrics(line, 5.0) == {"time": 5.0, "step": 9, "name": name, "val_loss": 7.7, "ppl": 2200.0}
    assert MEGATRON.parse_metrics("Evaluating iter 1/2", 5.0) is None


def test_megatrons_saves(tmp_path: Path) -> None:
    begins = "saving checkpoint at iteration      10 to /runs/a b/checkpoints in torch_dist format"
    ends = "  successfully saved checkpoint from iteration      10 to /runs/a b/checkpoints [ t 1/1, p 1/1 ]"
    assert MEGATRON.parse_saving(begins) == "/runs/a b/checkpoints/iter_0000010"
    assert (MEGATRON.parse_saving(ends), MEGATRON.parse_saved(begins), MEGATRON.parse_saved(ends)) == (
        None,
        False,
        True,
    )
    assert all(marker in line.encode() for line in (begins, ends) for marker in MEGATRON.markers)
    for parts in ([], [".metadata"], [".metadata", "train_state.pt"]):
        path = tmp_path / f"iter_{10 + len(parts):07d}"
        path.mkdir()
        for part in parts:
            (path / part).touch()
    assert backends.newest_checkpoint(MEGATRON, str(tmp_path)) is None
    (path / "run_config.yaml").touch()
    (tmp_path / "damaged-iter_0000020").mkdir()
    assert backends.newest_checkpoint(MEGATRON, str(tmp_path)) == 11


def test_a_save_lasts_until_its_own_line_where_there_is_one(tmp_path: Path) -> None:
    """The last rank's line of a step may come while rank 0 saves already."""
    log, target = tmp_path / "rank-0.log", tmp_path / "metrics.jsonl"
    log.touch()
    follower = Follower(MEGATRON, str(log), str(target))
    step = ITERATION.format(loss=" lm loss: 7E+00 |", skipped=0, nan=0)
    began = f"saving checkpoint at iteration      10 to {tmp_path} in torch_dist format"
    log.write_text(f"{began}\n{step}\n")
    follower.poll()
    assert (follower.step, follower.progress.save_s, follower.progress.others) == (9, None, 1)
    with log.open("a") as file:
        file.write("  successfully saved checkpoint from iteration      10 to x [ t 1/1, p 1/1 ]\n")
    follower.poll()
    assert follower.progress.save_s is not None
    assert len(target.read_text().splitlines()) == 1


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
    """The file's time is its server's, minutes before or behind the node's: it is one that was not there before."""
    file = tmp_path / "finished.json"
    assert not backend.finished(str(tmp_path), backends.finished_mark(str(tmp_path)))
    for text, server in (("{}", 2e9), ("{}", 1e9), ('{"step": 9}', 1e9)):
        before = backends.finished_mark(str(tmp_path))
        file.write_text(text)
        os.utime(file, (server, server))
        assert backend.finished(str(tmp_path), before)
        assert not backend.finished(str(tmp_path), backends.finished_mark(str(tmp_path)))


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
