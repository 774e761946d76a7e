"""The complete configuration of a training: the recipe's, with ours on it, in this order.

recipe -> blend.json -> CPU -> sections -> sequence lengths -> directories -> signals
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import contract
from checkpoint_lib.megatron import choice
from pretrain_lib.config import ConfigError
from pretrain_lib.output import is_main, say

from . import blend, cpu, hf_configs, recipe, sections
from .conversion import HF_CONFIG
from .order import Order


def build(order: Order) -> Any:
    """The ConfigContainer that is trained with.

    Raises:
        ConfigError: something in the order cannot be used.
    """
    asked = hf_configs.install(order.hf_configs)
    config = recipe.build(order.recipe, order.arguments)
    if blend.BLEND in order.arguments and config.dataset is not None:
        blend.put_into(config, order.arguments[blend.BLEND])
    done = cpu.adapt(config)
    if done:
        say("no CUDA: running on the CPU; " + "; ".join(done))
    sections.apply(config, order.sections)
    cpu.require(config)
    _agree_on_lengths(config, order.sections)
    _settle_directories(config, order.sections)
    if "exit_signal_handler" not in _section(order.sections, "train"):
        config.train.exit_signal_handler = True
    _require_weights(config, order)
    _require_known_tokenizer(config)
    if asked and config.checkpoint.save and is_main():
        # for convert.py: the checkpoints themselves do not tell what transformers needs to know
        asked[-1].save_pretrained(Path(config.checkpoint.save, HF_CONFIG))
    return config


def _agree_on_lengths(config: Any, written: Mapping[str, Any]) -> None:
    """The model's sequence length and the data's are one number: who sets one sets both."""
    data = _section(written, "dataset")
    of_data = data.get("seq_length", data.get("sequence_length"))
    of_model = _section(written, "model").get("seq_length")
    if of_data is not None and of_model is not None and of_data != of_model:
        raise ConfigError(f"model.seq_length={of_model} and dataset.seq_length={of_data}: they have to be the same")
    length = of_model if of_model is not None else of_data
    if length is None:
        return
    config.model.seq_length = length
    if hasattr(config.dataset, "seq_length"):
        config.dataset.seq_length = length
        packing = getattr(config.dataset, "packed_sequence_specs", None)
        if packing is not None and packing.packed_sequence_size and "packed_sequence_specs" not in data:
            packing.packed_sequence_size = length


def _settle_directories(config: Any, written: Mapping[str, Any]) -> None:
    """What a run leaves goes to the run's directory; checkpoints are loaded from where they are saved."""
    run_dir = os.environ.get(contract.RUN_DIR_VAR)
    checkpoint, logger = _section(written, "checkpoint"), _section(written, "logger")
    if run_dir and "save" not in checkpoint:
        config.checkpoint.save = str(Path(run_dir, "checkpoints"))
    if "load" not in checkpoint:
        config.checkpoint.load = config.checkpoint.save
    if run_dir and "tensorboard_dir" not in logger and config.logger.tensorboard_dir is not None:
        config.logger.tensorboard_dir = str(Path(run_dir, "tensorboard"))
    if run_dir and hasattr(config.dataset, "path_to_cache") and "path_to_cache" not in _section(written, "dataset"):
        # beside the data, as it is otherwise, another run's index may lie, and the data may not be writable
        config.dataset.path_to_cache = str(Path(run_dir, "index"))


def _require_weights(config: Any, order: Order) -> None:
    if order.mode == "finetune" and not config.checkpoint.pretrained_checkpoint:
        raise ConfigError(
            "checkpoint.pretrained_checkpoint is not set: fine-tuning begins with the weights of a Megatron checkpoint "
            "(convert.py hf-to-megatron makes one)"
        )
    named, own = config.checkpoint.pretrained_checkpoint, config.checkpoint.load
    if named and not (own and _has_checkpoint(str(own))) and not _has_checkpoint(str(named)):
        # without adapters Megatron-Bridge 0.3.1 says nothing, and trains what it has drawn (training/setup.py)
        raise ConfigError(
            f"checkpoint.pretrained_checkpoint={named}: there is no {choice.LATEST_STATE} in it, by which"
            " Megatron-Bridge finds a checkpoint; it would train random weights"
        )


def _has_checkpoint(folder: str) -> bool:
    """As checkpoint_exists of Megatron-Bridge's; of an object store that is left to it."""
    names = (choice.LATEST_STATE, choice.LATEST_NUMBER)
    return "://" in folder or any(Path(folder, name).is_file() for name in names)


def _require_known_tokenizer(config: Any) -> None:
    """transformers 5 saves tokenizers under a class that transformers 4, which Megatron-Bridge 0.3.1 needs, has not."""
    import transformers

    path = Path(str(config.tokenizer.tokenizer_model), "tokenizer_config.json")
    if int(transformers.__version__.partition(".")[0]) >= 5 or not path.is_file():
        return
    kind = json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class")
    if kind == "TokenizersBackend":
        raise ConfigError(
            f"tokenizer.tokenizer_model: {path} was written by transformers 5, and transformers "
            f'{transformers.__version__} is installed here; its "tokenizer_class" has to be "PreTrainedTokenizerFast"'
        )


def _section(written: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = written.get(name)
    return found if isinstance(found, Mapping) else {}
