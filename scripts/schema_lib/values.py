"""Keys that take one of a few values, and the values, from the source that compares them."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from typing import Any

from schema_lib.sections import load

_C = "nemo_automodel.components."


def values() -> dict[str, list[str]]:
    """{dotted key: the texts that it may have}."""
    scheduler = _compared(load(f"{_C}optim.scheduler:OptimizerParamScheduler"))
    formats = load(f"{_C}checkpoint._backports.filesystem:SerializationFormat")
    found = {
        "clip_grad_norm.backend": typing.get_args(load(f"{_C}training.utils:_GradNormBackend")),
        "checkpoint.model_save_format": [one.value for one in formats],
        "checkpoint.save_consolidated": [
            "true",
            *(one.value for one in load(f"{_C}checkpoint.config:SaveConsolidatedMode")),
        ],
        "compile.backend": [name for name in _backends() if not name.endswith("_TESTING_ONLY")],
        "compile.mode": list(load("torch._inductor:list_mode_options")()),
        "dist_env.backend": [name for name in load("torch.distributed:Backend").backend_list if name != "undefined"],
        "distributed.activation_checkpointing": _activation_checkpointing(),
        "distributed.pipeline.pp_schedule": _schedules(),
        "distributed.strategy": list(load(f"{_C}distributed.config:_STRATEGY_MAP")),
        "lr_scheduler.lr_decay_style": scheduler["lr_decay_style"],
        "lr_scheduler.lr_wsd_decay_style": scheduler["lr_wsd_decay_style"],
        "lr_scheduler.wd_incr_style": scheduler["wd_incr_style"],
        "moe_metrics.mode": _moe_modes(),
        "packed_sequence.packing_strategy": list(load(f"{_C}datasets.loader:_PACKING_CONFIGS")),
    }
    return {key: sorted(set(texts)) for key, texts in found.items()}


def dtypes() -> list[str]:
    """Names of torch's dtypes; AutoModel takes them with and without `torch.`, and bf16 (dtype_from_str)."""
    torch = load("torch:Tensor") and __import__("torch")
    return sorted({"bf16", *(name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype))})


def _compared(target: Any) -> dict[str, list[str]]:
    """Attribute of `self` -> the texts that a class compares it with."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(_tree(target)):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
            texts = [c.value for c in node.comparators if isinstance(c, ast.Constant) and isinstance(c.value, str)]
            found.setdefault(node.left.attr, []).extend(texts)
    return found


def _activation_checkpointing() -> list[str]:
    """Every text that _normalize_activation_checkpointing compares its argument with."""
    tree = _tree(load("nemo_automodel.recipes._dist_utils:_normalize_activation_checkpointing"))
    compared = [side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in node.comparators]
    constants = [c for side in compared for c in ast.walk(side) if isinstance(c, ast.Constant)]
    return [c.value for c in constants if isinstance(c.value, str)]


def compile_options() -> list[str]:
    """Names of inductor's options, which torch.compile takes under `options`; private ones are for its tests."""
    names = load("torch._inductor.config:get_config_copy")()
    return sorted(name for name in names if not name.startswith("_") and name.partition(".")[0] != "TYPE_CHECKING")


def _backends() -> list[str]:
    found: list[str] = load("torch._dynamo:list_backends")(exclude_tags=())
    return found


def _moe_modes() -> list[str]:
    """The default of `mode`, and what it is compared with."""
    method = load("nemo_automodel.recipes.llm.train_ft:TrainFinetuneRecipeForNextTokenPrediction")._log_moe_metrics
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    compared = [node.comparators[0] for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    got = [node.args for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2]
    defaults = [args[1] for args in got if isinstance(args[0], ast.Constant) and args[0].value == "mode"]
    constants = [node for node in (*defaults, *compared) if isinstance(node, ast.Constant)]
    return [node.value for node in constants if isinstance(node.value, str)]


def _schedules() -> list[str]:
    """The keys of the mapping in torch's get_schedule_class."""
    tree = _tree(load("torch.distributed.pipelining.schedules:get_schedule_class"))
    mapping = next(node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    return [key.value for key in mapping.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _tree(target: Any) -> ast.Module:
    return ast.parse(inspect.getsource(target))
