"""The sections of a training config, from the classes and the source that read them.

Sources, below nemo_automodel/: recipes/llm/train_ft.py (setup), recipes/base_recipe.py, recipes/_typed_config.py
(RecipeConfig), recipes/_dist_utils.py (parse_distributed_section).
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

from schema_lib import reads, signatures

_TYPED = "recipes/_typed_config.py"
_SHARED = ("recipes/base_recipe.py", "recipes/_dist_utils.py", "components/distributed/context_parallel/magi.py")
RECIPES = {
    "TrainFinetuneRecipeForNextTokenPrediction": ("recipes/llm/train_ft.py",),
    "BenchmarkingRecipeForNextTokenPrediction": ("recipes/llm/train_ft.py", "recipes/llm/benchmark.py"),
    "KnowledgeDistillationRecipeForNextTokenPrediction": (
        "recipes/llm/train_ft.py",
        "recipes/llm/kd.py",
        "recipes/kd_utils.py",
    ),
}
"""Recipe classes whose keys are known, with the files that read them."""

_DATA = {"dataset", "dataloader", "validation_dataset", "validation_dataloader"}  # read through a variable
_NO_SECTIONS = {"_target_", "get", "validation_dataloaders", "mtp"}
_PLAIN = {
    "seed": "int",
    "nvtx": "bool",
    "sdpa_method": "list|null",
    "kd_ratio": "float",
    "offload_teacher_model": "bool",
}

_C = "nemo_automodel.components."
# Section -> the class whose parameters are its keys; what else it takes; what is taken and has no effect. A section of
# _LENIENT takes any other key in silence; the others refuse it.
_CLASSES = {
    "step_scheduler": f"{_C}training.step_scheduler:StepSchedulerConfig",
    "lr_scheduler": f"{_C}optim.optimizer:LRSchedulerConfig",
    "checkpoint": f"{_C}checkpoint.config:CheckpointingConfig",
    "mlflow": f"{_C}loggers.loggers:MLflowConfig",
    "comet": f"{_C}loggers.loggers:CometConfig",
    "prewarm": f"{_C}training.prewarm:PrewarmConfig",
    "embedding_row_repair": f"{_C}training.embedding_row_repair:EmbeddingRowRepairConfig",
    "domain_mixture": f"{_C}training.domain_mixture:DomainMixtureConfig",
    "mfu": "nemo_automodel._transformers.mfu:MFUConfig",
    "compile": f"{_C}utils.compile_utils:CompileConfig",
    "fp8": f"{_C}quantization.fp8:FP8Config",
    "wandb": f"{_C}loggers.loggers:WandbConfig",
    "dist_env": f"{_C}distributed.init_utils:initialize_distributed",
}
_EXTRA = {
    "step_scheduler": {"local_batch_size": "int"},
    "checkpoint": {"restore_from": "null|str"},
    "wandb": {"enable": "bool"},
    "dist_env": {"backend": "str", "timeout_minutes": "int|float"},
}
_SILENT = {
    "step_scheduler": ["_target_", "dp_size", "dataloader"],  # _STEP_SCHEDULER_RUNTIME_KEYS, and nothing reads the last
    "checkpoint": ["is_peft", "model_cache_dir", "model_repo_id"],  # RecipeConfig.checkpoint writes its own over them
    **{name: ["_target_"] for name in ("lr_scheduler", "mlflow", "comet", "prewarm", "embedding_row_repair", "mfu")},
    "domain_mixture": ["_target_"],
    "wandb": ["_target_"],
}
_LENIENT = {"compile", "fp8", "dist_env", "clip_grad_norm", "neftune", "moe_metrics", "qat", "quantization"}
# wandb.init of wandb 0.22; AutoModel hands any key on, and gives `config` and `settings` itself.
_WANDB = (
    *("id", "dir", "mode", "group", "job_type", "force", "anonymous", "reinit", "resume", "resume_from", "fork_from"),
    *("save_code", "tensorboard", "sync_tensorboard", "monitor_gym", "allow_val_change"),
    *("config_exclude_keys", "config_include_keys"),
)


def load(path: str) -> Any:
    """The attribute that "module:name" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def sections(root: Path) -> dict[str, dict[str, Any]]:
    """{section: signature}, as backends/automodel/schema describes it; `root` is nemo_automodel's directory."""
    found = {name: signatures.signature(load(path)) or {} for name, path in _CLASSES.items()}
    for name in sorted(_LENIENT - set(found)):
        found[name] = {"params": dict.fromkeys(_read_below(root, name), "")}
    found["dist_env"].pop("required", None)  # the recipe has a default
    found["clip_grad_norm"]["params"]["max_norm"] = "float|null"
    found["moe_metrics"]["params"]["enabled"] = "bool"
    found["freeze_config"] = {
        "params": dict.fromkeys(sorted(load(f"{_C}utils.model_utils:_FREEZE_CONFIG_OPTIONS")), "")
    }
    found["wandb"]["params"] |= dict.fromkeys(_WANDB, "")
    found["packed_sequence"] = _packing()
    found["dataloader"] = _dataloader(root)
    for name, entry in found.items():
        entry["params"] |= _EXTRA.get(name, {})
        entry["params"] = {key: value for key, value in entry["params"].items() if key not in _SILENT.get(name, [])}
        if name in _SILENT:
            entry["silent"] = _SILENT[name]
        if name in _LENIENT:
            entry["lenient"] = True
    return dict(sorted(found.items()))


def top_level(root: Path) -> dict[str, dict[str, str]]:
    """{recipe class: {key at the top level that it reads: kind}}."""
    typed = _properties(root)
    found = {}
    for recipe, files in RECIPES.items():
        used = {key.partition(".")[0] for name in (*files, *_SHARED) for key in reads.keys(_tree(root / name))}
        read = {key for name in used for key in typed.get(name, {name})} - _NO_SECTIONS
        found[recipe] = {key: _PLAIN.get(key, "") for key in sorted({*read, "recipe", "_step_recipe"})}
    return found


def _properties(root: Path) -> dict[str, set[str]]:
    """Property of RecipeConfig -> the keys at the top level that it reads, itself or through methods that it calls."""
    body = next(n for n in _tree(root / _TYPED).body if isinstance(n, ast.ClassDef) and n.name == "RecipeConfig")
    methods = {node.name: node for node in body.body if isinstance(node, ast.FunctionDef)}

    def read(name: str, above: frozenset[str]) -> set[str]:
        own = {key.partition(".")[0] for key in reads.keys(methods[name])}
        own |= _texts(methods[name]) & _DATA
        calls = {node.attr for node in ast.walk(methods[name]) if isinstance(node, ast.Attribute)} & set(methods)
        return own.union(*(read(other, above | {name}) for other in calls - above - {name}))

    return {name: read(name, frozenset()) for name in methods if not name.startswith("_")}


def _texts(tree: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _read_below(root: Path, section: str) -> list[str]:
    """Keys below a section that nothing but `.get` reads."""
    found = reads.keys(_tree(root / "recipes/llm/train_ft.py"))
    if section == "quantization":
        bnb = reads.keys(_tree(root / "components/quantization/qlora.py"), root="config")
        found |= {f"quantization.{key}" for key in bnb}
    return sorted({key.split(".")[1] for key in found if key.startswith(f"{section}.")})


def _packing() -> dict[str, Any]:
    """The union of all strategies' fields, as make_packing_config takes them."""
    loader = f"{_C}datasets.loader:"
    params: dict[str, str] = {"packing_strategy": "str|null"}
    for one in load(f"{loader}_PACKING_CONFIGS").values():
        params |= (signatures.signature(one) or {})["params"]
    return {"params": params, "silent": sorted(load(f"{loader}_LEGACY_PACKING_FIELDS"))}


def _dataloader(root: Path) -> dict[str, Any]:
    """What RecipeConfig._resolve_dataloader takes: its own set of names, with the kinds of DataloaderConfig."""
    config = load(f"{_C}datasets.loader:DataloaderConfig")
    known = (signatures.signature(config) or {})["params"]
    assigned = [n for n in ast.walk(_tree(root / _TYPED)) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Set)]
    names = next(_texts(n.value) for n in assigned if getattr(n.targets[0], "id", "") == "config_fields")
    params = {name: known[name] for name in sorted(names)}
    return {"params": {**params, "_target_": "str", "collate_fn": "", "dataloader_type": "str|null", "dataset": "map"}}


def strategies() -> dict[str, dict[str, Any]]:
    """{strategy: what it takes beside the sizes}."""
    classes = load(f"{_C}distributed.config:_STRATEGY_MAP")
    return {name: signatures.signature(one) or {} for name, one in classes.items()}


def distributed() -> dict[str, Any]:
    """{"sizes": {name: kind}, "pipeline": ..., "moe": ...}; _target_ and its like have no effect."""
    sizes = load(f"{_C}distributed.mesh:ParallelismSizes")
    runtime = {"pp_batch_size", "loss_fn"}  # the recipe sets them
    return {
        "sizes": {field.name: "int|null" for field in fields(sizes)},
        "pipeline": signatures.signature(load(f"{_C}distributed.pipelining.config:PipelineConfig"), without=runtime),
        "moe": signatures.signature(load(f"{_C}distributed.config:MoEParallelizerConfig")),
        "silent": ["_convert_", "_recursive_", "_target_"],
    }


def source(target: Any) -> ast.AST:
    """The syntax tree of a function or class."""
    return ast.parse(inspect.cleandoc("if 1:\n" + inspect.getsource(target)))
