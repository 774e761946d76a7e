"""The table of renamed keys, and what the checks promise of AutoModel, against the AutoModel that is installed."""

from __future__ import annotations

from typing import Any

import pytest

from automodel_launch.backends.automodel import keys, loader, schema
from automodel_launch.backends.automodel.schema import renamed

_REFUSED = [old.key for old in renamed.RENAMED if "once the model is loaded" in old.does]
_IGNORED = [old.key for old in renamed.RENAMED if "." not in old.key]


def _recipe_config(raw: dict[str, Any]) -> Any:
    from nemo_automodel.components.config.loader import ConfigNode
    from nemo_automodel.recipes._typed_config import RecipeConfig

    return RecipeConfig(ConfigNode(raw))


@pytest.mark.parametrize("key", _REFUSED)
def test_automodel_refuses_what_the_table_says_it_does(key: str) -> None:
    section, _, name = key.partition(".")
    dataset = {"_target_": "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining", "paths": "/x"}
    given: dict[str, Any] = {"step_scheduler": {name: 1}, "dataset": {**dataset, name: 1}}
    attribute = "step_scheduler" if section == "step_scheduler" else "dataloader"
    with pytest.raises(TypeError, match=name):
        getattr(_recipe_config(given), attribute)


@pytest.mark.parametrize("key", _IGNORED)
def test_nothing_reads_the_keys_that_are_ignored(key: str) -> None:
    top = schema.load().top(loader.RECIPE)
    assert top is not None
    assert key not in top


def test_what_took_their_place_is_there() -> None:
    step = schema.load().section("step_scheduler")
    assert step is not None
    assert {"val_every_steps", "ckpt_every_steps"} < set(step.params)
    for strategy in renamed.STRATEGIES.values():
        assert schema.load().strategy(strategy) is not None


def test_targets_of_lr_scheduler_and_distributed_are_ignored() -> None:
    from nemo_automodel.recipes._dist_utils import parse_distributed_section

    target = "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert _recipe_config({"lr_scheduler": {"_target_": target}}).lr_scheduler.lr_decay_style == "cosine"
    ddp = "nemo_automodel.components.distributed.ddp.DDPManager"
    assert type(parse_distributed_section({"_target_": ddp})["strategy_config"]).__name__ == "FSDP2Config"


def test_silent_keys_of_a_checkpoint_are_overwritten() -> None:
    raw = {"checkpoint": {"model_repo_id": "mine"}, "model": {"pretrained_model_name_or_path": "theirs"}}
    assert _recipe_config(raw).checkpoint.model_repo_id == "theirs"


@pytest.mark.parametrize("key", keys.SECTIONS)
def test_sections_that_must_be_there(key: str) -> None:
    """Without it the recipe's set-up gets None, or an AttributeError, where it calls something of the section."""
    config = _recipe_config({"seed": 1})
    try:
        section = getattr(config, "dataloader" if key == "dataset" else key)
    except AttributeError:
        return
    assert section is None
