"""What `_target_` can name: every module of AutoModel with its public names, and signatures of what configs build."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schema_lib import model_configs
from schema_lib.signatures import signature

# Not what a language model's pretraining or finetuning builds. What is left out is known by name only.
_NAMES_ONLY = re.compile(
    r"\.(recipes|cli|_diffusers|speculative|flow_matching|launcher|diffusion|vlm|audio|multimodal)\b"
    r"|\.(triton|lora_kernel)\b"  # kernels, whose signatures can be read only where triton is installed
)
_MODELS = "nemo_automodel.components.models."
# Of a model: its config, its class, the function that builds it, the choice of its kernels; not its layers.
_OF_A_MODEL = re.compile(r"Config$|For[A-Z]\w+$|^build_")
# Elsewhere a config builds classes only; what makes a part of a run may be a function.
# Wider than annotated, by the source: components/_peft/module_matcher.py takes a text too, "*_proj".
_WIDER = {"nemo_automodel.components._peft.lora.PeftConfig": ("target_modules", "exclude_modules")}
_BUILDS = re.compile(r"\._transformers\b|\.components\.(datasets|loss|optim|_peft|models|training|eval|quantization)\b")
_TORCH = {
    "torch.distributed.fsdp": ("MixedPrecisionPolicy", "OffloadPolicy", "CPUOffloadPolicy"),
    "torch.utils.data": ("DataLoader", "default_collate"),
    "torchdata.stateful_dataloader": ("StatefulDataLoader",),
    "torch.nn": ("CrossEntropyLoss", "NLLLoss", "MSELoss", "KLDivLoss"),
}
_TRANSFORMERS = ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM")
# torch and AutoModel give these to an optimizer; a config does not.
_GIVEN = {"params", "kwargs"}


def module_names(root: Path) -> dict[str, str]:
    """{module: its public names, joined by blanks}, read from the source: nothing has to be importable."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[module] = " ".join(sorted(set(_defined(ast.parse(path.read_text(encoding="utf-8")).body))))
    return found


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Names that a module has at its top, also below `if` and `try`, and in tables of lazy imports."""
    for node in body:
        names: list[str] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("nemo_automodel")):
            names = [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if any("LAZY" in name for name in names) and isinstance(node.value, ast.Dict):
                names += [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _defined([*node.body, *node.orelse, *getattr(node, "finalbody", [])])
            for handler in getattr(node, "handlers", []):
                yield from _defined(handler.body)
        yield from (name for name in names if not name.startswith("_"))


def targets(modules: dict[str, str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Signatures by dotted path, and other paths of the same objects: ({path: signature}, {path: path})."""
    found: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    for module in [name for name in modules if not _NAMES_ONLY.search(name)]:
        loaded = _imported(module)
        for name in modules[module].split() if loaded else []:
            value = _attribute(loaded, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            home = f"{value.__module__}.{value.__qualname__}"
            if home == f"{module}.{name}":
                found.update(_entries(home, value))
            elif home.startswith("nemo_automodel.") and hasattr(
                loaded, "__path__"
            ):  # a package shows what its modules hold
                aliases[f"{module}.{name}"] = home
    aliases = {path: home for path, home in aliases.items() if home in found}
    return found | _foreign(), aliases


def _imported(module: str) -> Any:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except Exception:  # a package that it wants is not installed: it is known by name only
        return None


def _attribute(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except Exception:  # a lazy import of something that is not installed
        return None


def _entries(path: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.startswith(_MODELS) and not _OF_A_MODEL.search(value.__name__):
        return
    if path.startswith("nemo_automodel.") and not inspect.isclass(value) and not _BUILDS.search(path):
        return
    if inspect.isclass(value) and _is_config(value):
        yield path, model_configs.entry(value)
        return
    own = signature(value, without=_GIVEN if "Optimizer" in str(getattr(value, "__mro__", "")) else ())
    for name in _WIDER.get(path, ()):
        own["params"][name] = "list|str"
    if own is not None and not (inspect.isclass(value) and issubclass(value, BaseException)):
        yield path, own
    for name in sorted(dir(value)) if inspect.isclass(value) else ():
        method = inspect.getattr_static(value, name, None)
        if isinstance(method, (classmethod, staticmethod)) and re.match(r"(from|build|create|make|load)_?", name):
            taken = signature(getattr(value, name))
            if taken is not None:
                yield f"{path}.{name}", taken


def _foreign() -> dict[str, dict[str, Any]]:
    """torch's optimizers, policies, loaders and losses; transformers' auto classes and its language models' configs."""
    import torch
    import transformers
    from transformers.models.auto import configuration_auto, modeling_auto

    found: dict[str, dict[str, Any]] = {}
    for name, value in sorted(vars(torch.optim).items()):
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer:
            found[f"torch.optim.{name}"] = signature(value, without=_GIVEN) or {}
    for module, names in _TORCH.items():
        for name in names:
            found[f"{module}.{name}"] = signature(getattr(importlib.import_module(module), name)) or {}
    for name in _TRANSFORMERS:
        found.update(_entries(f"transformers.{name}", getattr(transformers, name)))
    for kind, model in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        name = configuration_auto.CONFIG_MAPPING_NAMES.get(kind, "")
        config = getattr(transformers, name, None)
        if config is not None:
            found[f"transformers.{name}"] = model_configs.entry(config, model)
    return found


def _is_config(value: type) -> bool:
    return any(base.__name__ == "PreTrainedConfig" for base in value.__mro__)
