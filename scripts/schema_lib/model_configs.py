"""What a model's config takes beside its parameters, by the source of transformers and AutoModel.

transformers' configs take any keyword and keep it as an attribute. Which ones have an effect is told by three places:
`attribute_map` (another name of a parameter), what __init__ and __post_init__ take out of `kwargs` (the older names
rope_theta and torch_dtype, say), and what the models read from their config without its class having a parameter.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from schema_lib.reads import nodes
from schema_lib.signatures import signature

_CONFIGS = {"config", "text_config", "hf_config", "cfg"}  # what models call it
_TAKES = {"pop", "get", "setdefault"}
_READ = (ast.Attribute, ast.Call)
# Read by every model: attention masks, weights' initialization, tied weights.
_SHARED = ("modeling_utils.py", "masking_utils.py")


def entry(config: type, model: str = "") -> dict[str, Any]:
    """The signature of a config's class, with `maps`, `reads` and `strict` (schema/__init__.py says what they are).

    `model` is the name of the model's class, of which AutoModel may have its own form.
    """
    own = signature(config) or {"params": {}}
    maps = dict(getattr(config, "attribute_map", None) or {})
    reads = {*_kwargs(config), *_setters(config), *_of_models(config, model)}
    if not hasattr(config, "rope_parameters"):
        reads -= {"rope_theta", "rope_scaling"}  # PreTrainedConfig looks at them, and no model does
    reads = {name for name in reads - set(own["params"]) - set(maps) - set(shared()) if not name.startswith("_")}
    strict = {"strict": True} if getattr(config, "__validators__", None) else {}
    return {**own, "open": True, "maps": dict(sorted(maps.items())), "reads": sorted(reads), **strict}


@functools.cache
def shared() -> tuple[str, ...]:
    """What is read of every config that has it."""
    from transformers import PreTrainedConfig

    root = Path(inspect.getfile(PreTrainedConfig)).parent
    own = (signature(PreTrainedConfig) or {"params": ()})["params"]  # a class with an __init__ of its own hides them
    found = {*own, *_kwargs(PreTrainedConfig), *(name for file in _SHARED for name in _reads(root / file))}
    return tuple(sorted(name for name in found if not name.startswith(("_", "rope_"))))


def ignored() -> list[str]:
    """Keywords that transformers drops from every config without a message: those of generation."""
    from transformers import GenerationConfig

    return sorted(GenerationConfig._get_default_generation_params())


def _kwargs(config: type) -> Iterator[str]:
    """Names that the class or one it inherits from takes out of `kwargs`."""
    for base in config.__mro__:
        if "RotaryEmbedding" in base.__name__ and not hasattr(config, "rope_parameters"):
            continue  # PreTrainedConfig calls it only for a class that has rope_parameters
        for name in ("__init__", "__post_init__", "convert_rope_params_to_dict"):
            function = vars(base).get(name)
            if inspect.isfunction(function):
                yield from _taken(inspect.unwrap(function))


@functools.cache
def _taken(function: Any) -> tuple[str, ...]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):  # made by @dataclass, without a source
        return ()
    return tuple(name for node in nodes(tree) for name in _from_kwargs(node))


def _from_kwargs(node: ast.AST) -> Iterator[str]:
    """The name in kwargs.pop("name", ...), kwargs["name"] and "name" in kwargs."""
    texts: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _TAKES:
        texts = node.args[:1] if _is(node.func.value, {"kwargs"}) else []
    elif isinstance(node, ast.Subscript) and _is(node.value, {"kwargs"}):
        texts = [node.slice]
    elif isinstance(node, ast.Compare) and any(_is(side, {"kwargs"}) for side in node.comparators):
        texts = [node.left]
    yield from (text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str))


def _setters(config: type) -> Iterator[str]:
    """Properties that can be set."""
    for base in config.__mro__:
        yield from (name for name, value in vars(base).items() if isinstance(value, property) and value.fset)


def _of_models(config: type, model: str) -> set[str]:
    """What the models of a config read from it: transformers' own, and AutoModel's."""
    from nemo_automodel._transformers.registry import MODEL_ARCH_MAPPING

    folders = [Path(inspect.getfile(config)).parent]
    if model in MODEL_ARCH_MAPPING:
        spec = importlib.util.find_spec(MODEL_ARCH_MAPPING[model][0])
        folders += [Path(spec.origin).parent] if spec and spec.origin else []
    # transformers' other files read configs of other models, for conversion
    files = [path for folder in folders for path in folder.glob("*model*.py")]
    for folder in folders[1:]:  # AutoModel's models share layers, and each has layers in files of its own
        files += [*folder.glob("*.py"), *(folder.parent / "common").rglob("*.py")]
    return {name for path in files for name in _reads(path)}


@functools.cache
def _reads(path: Path) -> frozenset[str]:
    """Attributes of configs that a module reads; not methods that it calls."""
    found = [node for node in nodes(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, _READ)]
    called = {id(node.func) for node in found if isinstance(node, ast.Call)}
    return frozenset(name for node in found if id(node) not in called for name in _read(node))


def _read(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _is(node.value, _CONFIGS):
        return [node.attr]
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr")
    if named and isinstance(node, ast.Call) and len(node.args) > 1 and _is(node.args[0], _CONFIGS):
        return [text.value for text in node.args[1:2] if isinstance(text, ast.Constant) and isinstance(text.value, str)]
    return []


def _is(node: ast.expr, names: set[str]) -> bool:
    """A variable or an attribute of one of these names."""
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in names
