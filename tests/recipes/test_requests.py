"""A checkpoint on request: at one step on all ranks, once, and the training goes on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import Checkout, TinyCorpus, wait_for
from tests.launch.test_train_tiny import PREPARE, SMALL
from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

import contract
from bridge_lib import save_request
from pretrain_lib import requests


class Handler:
    """Of signals, as AutoModel's."""

    def __init__(self) -> None:
        self._signal_received = False
        self.group = None

    def signals_received(self) -> list[bool]:
        raise AssertionError("its own message, beside ours")


class Scheduler:
    """AutoModel's, as far as it concerns saves."""

    def __init__(self) -> None:
        self.step = 0
        self.sig_handler = Handler()
        self.sigterm_flag = False
        self._polled: int | None = None

    @property
    def is_ckpt_step(self) -> bool:
        return self.step % 10 == 9 or self.sigterm_received

    @property
    def sigterm_received(self) -> bool:
        if self.sigterm_flag or self._polled == self.step:
            return self.sigterm_flag
        self._polled = self.step
        self.sigterm_flag = any(self.sig_handler.signals_received())
        return self.sigterm_flag


class Recipe:
    """A rank's training."""

    def __init__(self) -> None:
        self.step_scheduler = Scheduler()
        self.saved: list[int] = []

    def save_checkpoint(self, epoch: int, step: int, loss: float, **_: Any) -> None:
        self.saved.append(step)


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Three ranks; what rank 0 has sent is known to those that come after it."""
    monkeypatch.setattr(requests, "_LOOK_EVERY_S", 0.0)
    made = [Recipe() for _ in range(3)]
    sent: dict[int, int] = {}
    for rank, recipe in enumerate(made):

        def gather(number: int, rank: int = rank) -> list[int]:
            sent[rank] = number
            return [sent.get(one, 0) for one in range(3)]

        monkeypatch.setenv("RANK", str(rank))
        requests.install(recipe, requests.SaveOnRequest(str(tmp_path)), gather)
    return made


def _ask(folder: Path, number: str, what: str = contract.REQUEST_SAVE) -> None:
    (folder / contract.REQUEST).write_text(json.dumps({"id": number, "what": what, "time": 1.0}))


def _step(ranks: list[Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of all, rank 0 first: what it sends is there when the others ask."""
    for rank, recipe in enumerate(ranks):
        monkeypatch.setenv("RANK", str(rank))
        assert recipe.step_scheduler.is_ckpt_step == recipe.step_scheduler.is_ckpt_step  # validation asks, too
        if recipe.step_scheduler.is_ckpt_step:
            recipe.save_checkpoint(0, recipe.step_scheduler.step, 1.0, best_metric_key="x")
        recipe.step_scheduler.step += 1


def test_all_ranks_save_at_one_step_and_go_on(
    ranks: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / contract.ANSWERS / f"{contract.TRAINING}.json"
    assert json.loads(answer.read_text())["what"] == contract.REQUEST_SAVE, "it tells that it hears"
    for step in range(30):
        if step == 3:
            _ask(tmp_path, "one")
        if step == 5:
            assert json.loads(answer.read_text())["id"] == "one"
            assert json.loads(answer.read_text())["step"] == 3
            _ask(tmp_path, "other", contract.REQUEST_STACKS)
        if step == 19:
            _ask(tmp_path, "two")  # at a step that is saved anyway: asked for at the next one
        _step(ranks, monkeypatch)
    assert [recipe.saved for recipe in ranks] == [[3, 9, 19, 20, 29]] * 3
    assert json.loads(answer.read_text())["id"] == "two"
    assert not any(recipe.step_scheduler.sigterm_flag for recipe in ranks)


def test_a_signal_is_heard_as_before(ranks: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _step(ranks, monkeypatch)
    ranks[0].step_scheduler.sig_handler._signal_received = True
    _ask(tmp_path, "one")
    _step(ranks, monkeypatch)
    assert all(recipe.step_scheduler.sigterm_flag for recipe in ranks)
    assert [recipe.saved for recipe in ranks] == [[1]] * 3


def test_a_request_of_an_attempt_before_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    _ask(tmp_path, "old")
    assert requests.SaveOnRequest(str(tmp_path)).wish() == 0


@pytest.mark.parametrize("text", ["", "[]", '{"id": 5, "what": "save"}', "\xff", '{"what": "save"}'])
def test_odd_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RANK", "0")
    saves = requests.SaveOnRequest(str(tmp_path))
    (tmp_path / contract.REQUEST).write_text(text)
    assert saves.wish() == 0


def test_a_recipe_with_other_parts_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.JOB_DIR_VAR, str(tmp_path))
    requests.hear(object())
    recipe = Recipe()
    del recipe.step_scheduler.sig_handler.group
    requests.hear(recipe)
    assert type(recipe.step_scheduler) is Scheduler
    assert list(tmp_path.iterdir()) == []


def test_automodel_gathers_as_this_takes_over() -> None:
    """The parts of AutoModel's that are replaced; where they change, so must pretrain_lib/requests.py."""
    found = importlib.util.find_spec("nemo_automodel")
    if found is None or found.origin is None:
        pytest.skip("AutoModel is not installed")
    folder = Path(found.origin).parent / "components" / "training"
    handler, scheduler = ((folder / name).read_text() for name in ("signal_handler.py", "step_scheduler.py"))
    assert "all_gather_item(self._signal_received, dtype=torch.int32, group=self.group)" in handler
    assert "self.sigterm_flag = any(self.sig_handler.signals_received())" in scheduler
    assert "self._sig_polled_step = self.step" in scheduler  # once a step, however often it is asked
    assert "or self.sigterm_received\n" in scheduler.partition("def is_ckpt_step")[2].partition("@property")[0]


class Bridge:
    """Megatron-Bridge's module `train`, as far as it concerns saves: every 10th iteration, and at a signal."""

    def __init__(self) -> None:
        self.saved: list[int] = []

    def checkpoint_and_decide_exit(self, state: Any, model: str, optimizer: str, train_data_iterator: str) -> bool:
        ends = any(state.signal_handler.signals_received())
        if ends or state.train_state.step % 10 == 0:
            self.save_checkpoint_and_time(state, model, optimizer, train_data_iterator=train_data_iterator)
        return ends

    def save_checkpoint_and_time(self, state: Any, *parts: str, train_data_iterator: str) -> None:
        assert (parts, train_data_iterator) == (("model", "optimizer"), "data")
        self.saved.append(state.train_state.step)


def test_megatron_bridge_saves_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setenv("RANK", "0")
    kept = SimpleNamespace(save="/checkpoints", save_interval=10)
    state = SimpleNamespace(
        signal_handler=Handler(), train_state=SimpleNamespace(step=0), cfg=SimpleNamespace(checkpoint=kept)
    )
    train = Bridge()
    save_request.install(train, state, requests.SaveOnRequest(str(tmp_path)), lambda number: [0, number])
    answer = tmp_path / contract.ANSWERS / f"{contract.TRAINING}.json"
    for iteration in range(1, 31):
        if iteration in (4, 20):
            _ask(tmp_path, str(iteration))
        state.train_state.step = iteration
        assert not train.checkpoint_and_decide_exit(state, "model", "optimizer", train_data_iterator="data")
        if iteration in (4, 20):
            told = json.loads(answer.read_text())
            assert (told["id"], told["step"]) == (str(iteration), iteration - 1)
    assert train.saved == [4, 10, 20, 30]
    state.signal_handler._signal_received = True
    assert train.checkpoint_and_decide_exit(state, "model", "optimizer", "data")


@pytest.mark.slow
@pytest.mark.train
def test_a_real_training_saves_and_goes_on(checkout: Checkout, tiny_corpus: TinyCorpus) -> None:
    tiny_corpus(checkout.root / "data/tiny")
    assert checkout.run(*PREPARE).returncode == 0
    small = [word for word in SMALL if "max_steps" not in word and "every_steps" not in word]
    long = [*small, "step_scheduler.max_steps=9000", "step_scheduler.ckpt_every_steps=9000"]
    long += ["step_scheduler.val_every_steps=9000", "lr_scheduler.lr_decay_steps=9000"]
    begun = checkout.run("pretrain", "-c", "tiny", "--batch", "local", "--name", "saves", *long)
    assert begun.returncode == 0, begun.stderr
    wait_for(lambda: (checkout.root / "runs/saves.1/metrics.jsonl").exists())
    saved = checkout.json("save", "saves")
    assert Path(saved["checkpoint"], "model").is_dir()
    wait_for(lambda: checkout.json("status", "saves")["progress"]["step"] > saved["step"] + 1)
    profiled = checkout.json("profile", "saves", "--ranks", "all")
    assert [(row["rank"], row["error"], row["steps"]) for row in profiled["ranks"]] == [(0, None, 3), (1, None, 3)]
    assert all(0 < own < row["step_s"] * 3 for row in profiled["ranks"] for own in row["outside_s"])
    again = checkout.json("save", "saves")
    assert again["step"] > saved["step"]
    assert checkout.run("cancel", "--now", "saves").returncode == 0
    resumed = checkout.run("resume", "saves")
    assert resumed.returncode == 0, resumed.stderr
    log = checkout.root / "runs/saves.1/logs/rank-0.log"
    wait_for(lambda: f"epoch_0_step_{again['step']}" in log.read_text().rpartition("cfg-path")[2])
    assert checkout.run("cancel", "--now", "saves").returncode == 0
