"""bridge_lib without Megatron-Bridge: the order, the blend, a value's type, the relay of the loss, conversions."""

from __future__ import annotations

import enum
import io
import json
import sys
import threading
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from bridge_lib import blend, conversion, convert_command, hf_configs, order, recipe, relay, values
from pretrain_lib.config import ConfigError

from tests.conftest import LIMIT_S

ROOT = Path(__file__).parents[2]


# --- the order


def test_an_order_is_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("run: {x: 7}\nrecipe: qwen3_8b_pretrain_config\ntrain: {train_iters: '${run.x}'}\n")
    found = order.take_apart(order.read(str(path), ["+optimizer.lr=3e-4", "checkpoint.save=/a/${run.x}"]))
    assert found == order.Order(
        recipe="qwen3_8b_pretrain_config",
        arguments={},
        mode="pretrain",
        step_func="gpt_step",
        sections={"train": {"train_iters": 7}, "optimizer": {"lr": 3e-4}, "checkpoint": {"save": "/a/7"}},
    )


@pytest.mark.parametrize(
    ("recipe", "mode"),
    [
        ("a.b.qwen3_8b_pretrain_config", "pretrain"),
        ("llama32_1b_sft_config", "finetune"),
        ("llama32_1b_peft_config", "finetune"),
        ("pretrain.mine.qwen_finetune_config", "finetune"),
    ],
)
def test_the_mode_is_told_from_the_recipes_name(recipe: str, mode: str) -> None:
    assert order.take_apart({"recipe": {"_target_": recipe, "x": 1}}).mode == mode
    assert order.take_apart({"recipe": recipe, "mode": "pretrain"}).mode == "pretrain"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "recipe is missing"),
        ({"recipe": 3}, "recipe = 3"),
        ({"recipe": {"x": 1}}, "a mapping with _target_"),
        ({"recipe": "my_config"}, "set mode=pretrain or mode=finetune"),
        ({"recipe": "a_pretrain_config", "mode": "pretrian"}, "did you mean pretrain?"),
        ({"recipe": "a_pretrain_config", "step_func": "vlm_stp"}, "did you mean vlm_step?"),
        ({"recipe": "a_pretrain_config", "hf_configs": {"a/b": "/nowhere"}}, "no config.json in /nowhere"),
        ({"recipe": "a_pretrain_config", "hf_configs": ["a/b"]}, "hf_configs: expected a mapping"),
    ],
)
def test_what_an_order_cannot_be(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        order.take_apart(config)


def test_a_setting_without_a_value_and_a_reference_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected key.sub=value"):
        order.read(None, ["train.train_iters"])
    path = tmp_path / "c.yaml"
    path.write_text("train: ${nothing.there}\n")
    with pytest.raises(ConfigError, match=r"c.yaml cannot be resolved"):
        order.read(str(path))


# --- the blend


def put(tmp_path: Path, content: object) -> Any:
    path = tmp_path / "blend.json"
    path.write_text(json.dumps(content))
    config = SimpleNamespace(dataset=SimpleNamespace(blend=1, split="9,1", blend_per_split=None))
    blend.put_into(config, path)
    return config.dataset


def test_a_split_that_is_missing_or_empty_is_none(tmp_path: Path) -> None:
    found = put(tmp_path, {"train": ["0.25", "/a", "0.75", "/b"], "valid": ["/c"], "test": []})
    assert found.blend_per_split == [(["/a", "/b"], [0.25, 0.75]), (["/c"], None), None]
    assert (found.blend, found.split) == (None, None)
    assert put(tmp_path, {"train": "1 /a"}).blend_per_split == [(["/a"], [1.0]), None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"valid": ["/a"]}, "no list of training data"),
        ({"train": ["/a"], "validation": ["/b"]}, "a split 'validation'; there are train, valid, test"),
        ({"train": ["1", "/a", "2"]}, "no list of WEIGHT, PREFIX"),
        ({"train": {"a": 1}}, "train is no list"),
        ([1], "no list of training data"),
    ],
)
def test_what_a_blend_cannot_be(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        put(tmp_path, content)


def test_a_data_set_that_takes_no_blend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no blend"):
        blend.put_into(SimpleNamespace(dataset=SimpleNamespace()), tmp_path)


# --- values


class Backend(enum.Enum):
    flash = 1
    fused = 2


@pytest.mark.parametrize(
    ("value", "hint", "fitted"),
    [
        (3, int, 3),
        (3, float, 3),
        ("3e-4", float, 3e-4),
        (None, int | None, None),
        (True, bool, True),
        ("fused", Backend, Backend.fused),
        (2, Backend | None, Backend.fused),
        ("a", Literal["a", "b"], "a"),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1], list[int] | None, [1]),
        ({"a": 1}, dict[str, Any], {"a": 1}),
        ("os.path.join", Callable[..., Any] | None, __import__("os").path.join),
        ("x", Any, "x"),
        ("p", typing.Union[str, Path, None], "p"),  # noqa: UP007
    ],
)
def test_a_value_is_fitted_to_its_field(value: object, hint: Any, fitted: object) -> None:
    assert values.fit(value, hint, "a.b") == fitted


def test_a_dtype_is_fitted() -> None:
    import torch

    assert values.fit("bf16", torch.dtype, "a.b") is torch.bfloat16
    assert values.fit("torch.float16", torch.dtype | None, "a.b") is torch.float16
    with pytest.raises(ConfigError, match=r"a\.b='bf17': expected dtype"):
        values.fit("bf17", torch.dtype, "a.b")


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (1.5, int, "expected an integer"),
        (True, int, "expected an integer"),
        ("yes", bool, "expected true or false"),
        (1, bool, "expected true or false"),
        ("fast", float | None, "expected a number or null"),
        (3, str, "expected a string"),
        ("flesh", Backend, "one of flash, fused; did you mean flash"),
        ("c", Literal["a", "b"], "one of a, b"),
        ("a", list[int], "expected list"),
        ("os.path.jion", Callable[..., Any], "no function of that path"),
        (None, int, "expected an integer"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, hint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"a\.b={value!r}.*{message}|a\.b={value}: .*{message}"):
        values.fit(value, hint, "a.b")


# --- the recipe's function


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of recipes, as a person's own may be."""

    def fails(kind: type[Exception]) -> None:
        """As Megatron-Bridge's loader wraps what a look-up has raised."""
        try:
            raise kind("why")
        except kind as error:
            raise ValueError("Failed to load configuration") from error

    def good_config(lr: float = 1.0) -> Any:
        return SimpleNamespace(train=lr, model=None)

    module = SimpleNamespace(
        __name__="mine.recipes",
        good_config=good_config,
        gated_config=lambda: fails(hf_configs.Unavailable),
        outage_config=lambda: fails(hf_configs.Unreached),
        other_config=lambda: 3,
    )
    monkeypatch.setitem(sys.modules, "mine.recipes", module)  # all that importlib needs


def test_a_recipe_is_called_with_what_it_takes(recipes: None) -> None:
    assert recipe.build("mine.recipes.good_config", {"lr": 2.0, blend.BLEND: "/b"}).train == 2.0
    for name, message in {
        "mine.recipes.godo_config": "did you mean good_config",
        "mine.nothing.good_config": "there is no module mine.nothing",
        "mine.recipes.gated_config": "recipe: mine.recipes.gated_config: why",
        "mine.recipes.other_config": "returns int, and no ConfigContainer",
    }.items():
        with pytest.raises(ConfigError, match=message):
            recipe.build(name, {})
    with pytest.raises(ConfigError, match=f"takes no 'steps': it takes lr, {blend.BLEND}"):
        recipe.build("mine.recipes.good_config", {"steps": 3})


def test_a_hub_that_does_not_answer_is_no_fault_of_the_config(recipes: None) -> None:
    """Exit code 2 would end a chain for good."""
    with pytest.raises(ValueError, match="Failed to load configuration"):
        recipe.build("mine.recipes.outage_config", {})


# --- the relay

STEP = " [2026-11-27 00:24:06] iteration       10/      60 | consumed samples:          160 |"
STEP += " elapsed time per iteration (ms): 500.0 | learning rate: 1.0E-03 |"
STEP += " global batch size:    16 | lm loss: 7.8E+00 | loss scale: 1.0 |"


def test_tokens_per_second_are_added_to_a_step_alone() -> None:
    assert relay.with_tokens_per_second(STEP, 256) == f"{STEP} tokens per second: 8192.0 |"
    assert relay.with_tokens_per_second(STEP, None) == STEP
    for line in (" validation loss at iteration 10 | lm loss value: 7 | ", "a word", STEP.replace("500.0", "0.0")):
        assert relay.with_tokens_per_second(line, 256) == line


def test_rank_0_gets_the_last_ranks_loss_lines_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real store, as that of a process group is."""
    import torch

    server = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)}.items():
        monkeypatch.setenv(name, value)
    log, own = io.StringIO(), io.StringIO()
    thread = threading.Thread(target=relay._print_all, args=(log,))
    thread.start()
    sender = relay._Sender()
    stream: Any = relay.LossLines(own, 256, sender.send)
    lines = [STEP, "of no interest", " validation loss at iteration 10 | lm loss value: 7 | ", "-----"]
    for line in lines:
        print(line, file=stream, flush=True)
    sender.close()
    thread.join(LIMIT_S)
    told = [f"{STEP} tokens per second: 8192.0 |", lines[2]]
    assert log.getvalue().splitlines() == told
    assert own.getvalue().splitlines() == [told[0], *lines[1:]]


def test_a_store_that_is_not_there_costs_nothing_but_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    sender = relay._Sender()
    sender.send("line")
    sender.close()
    relay._print_all(io.StringIO())


# --- conversions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "hf-to-megatrn"}, "did you mean hf-to-megatron?"),
        ({"dtype": "bf16"}, "did you mean bfloat16?|valid: float32, bfloat16, float16"),
        ({"output": None}, "output is missing"),
        ({"sourc": "x"}, "did you mean source?"),
        ({"source": "/nowhere"}, "there is no such directory"),
    ],
)
def test_what_a_conversion_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = {"direction": "megatron-to-hf", "source": str(tmp_path), "output": str(tmp_path / "out"), **changes}
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        conversion.settle(config)


def test_an_output_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    asked = conversion.settle({"direction": "hf-to-megatron", "source": "a/b", "output": str(tmp_path)})
    assert not conversion.is_complete(asked)
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match="something else in it"):
        conversion.is_complete(asked)
    (tmp_path / "latest_train_state.pt").write_text("")
    with pytest.raises(ConfigError, match=r"not complete: latest_train_state\.pt names no checkpoint; remove it"):
        conversion.is_complete(asked)


def test_a_part_of_an_output_is_not_taken_for_all_of_it(tmp_path: Path) -> None:
    """A copy that was cut off, or what a machine's end has left."""
    (tmp_path / "iter_0000010").mkdir()
    source, output = tmp_path / "iter_0000010", tmp_path / "out"
    asked = conversion.Conversion("megatron-to-hf", str(source), output)
    output.mkdir()
    for name, content in (("config.json", b"{}"), (conversion.MADE_OF, conversion.told(asked).encode())):
        (output / name).write_bytes(content)
    with pytest.raises(ConfigError, match="there are no weights in it; remove it, or name another directory"):
        conversion.is_complete(asked)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    (output / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(ConfigError, match=r"is not complete: model\.safetensors"):
        conversion.is_complete(asked)
    (output / "model.safetensors").write_bytes(whole)
    assert conversion.is_complete(asked)


def test_weights_of_another_checkpoint_are_not_taken_for_those_that_are_asked_for(tmp_path: Path) -> None:
    asked = conversion.settle({"direction": "hf-to-megatron", "source": "a/b", "output": str(tmp_path)})
    (tmp_path / "latest_train_state.pt").write_text("")
    (tmp_path / conversion.MADE_OF).write_text(conversion.told(asked))
    with pytest.raises(ConfigError, match=r"holds another conversion: source a/b \(now a/c\)"):
        conversion.is_complete(replace(asked, source="a/c", dtype="bfloat16"))


def test_a_conversion_removes_what_a_killed_one_has_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    output, left = tmp_path / "out", tmp_path / ".out.0815.partial"
    left.mkdir()
    (left / ".lock").touch()
    with convert_command._own_directory(output) as first, convert_command._own_directory(output) as second:
        assert not left.exists() and first.is_dir() and second.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "current", "hint", "taken"),
    [
        (100, 50, bool, True),  # what recipes of 0.3.1 have in manual_gc_eval
        (None, None, bool, True),
        (None, 1, int, False),
        (0.01, 0.02, int, True),
        (1, False, bool, False),
        (2.5, 2, int, False),
        (5, 0, Literal[0, 1, 2], False),
        ("cosin", "cosine", str, False),
    ],
)
def test_a_value_of_the_recipes_own_type_is_taken(value: Any, current: Any, hint: Any, taken: bool) -> None:
    assert values.like(value, current, hint) is taken
