"""Python annotations -> the schema's words for kinds of YAML values.

A kind is alternatives joined by `|`: int, float, bool, str, list, map, null, or a literal in quotes. An empty kind
means that any value may do: the annotation names a class, or there is none.
"""

from __future__ import annotations

import ast
import inspect
import types
import typing
from pathlib import PurePath
from typing import Any

_PLAIN = {int: "int", float: "float", bool: "bool", str: "str", type(None): "null", None: "null"}
_LISTS = {"list", "List", "tuple", "Tuple", "set", "Set", "frozenset", "Sequence", "Iterable", "Collection"}
_MAPS = {"dict", "Dict", "Mapping", "MutableMapping"}
_TEXTS = {"Path", "PathLike"}
_NEVER = {"Tensor"}  # no YAML gives one
_NAMES = {"int": "int", "float": "float", "bool": "bool", "str": "str", "None": "null"}


def kind(annotation: Any, default: Any, scope: dict[str, Any]) -> str:
    """The kind of a parameter; `scope` is the namespace in which a quoted annotation is read.

    A default that is None allows null, annotated or not.
    """
    found = _kinds(annotation, scope)
    if found is None:
        return ""
    return "|".join(sorted(found | ({"null"} if default is None else set())))


def _kinds(annotation: Any, scope: dict[str, Any]) -> set[str] | None:
    """The alternatives, or None where anything may do."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return None
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        try:
            return _parsed(ast.parse(annotation, mode="eval").body, scope)
        except SyntaxError:
            return None
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return _of_class(annotation)
    if annotation is None:
        return {"null"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return {_literal(value) for value in arguments}
    if origin in (typing.Union, types.UnionType):
        return _union(_kinds(argument, scope) for argument in arguments)
    return _of_class(origin) if isinstance(origin, type) else None


def _of_class(found: type) -> set[str] | None:
    if found in _PLAIN:
        return {_PLAIN[found]}
    if found.__name__ in _NEVER:
        return set()
    if found.__name__ in _LISTS:
        return {"list"}
    if found.__name__ in _MAPS:
        return {"map"}
    return {"str"} if issubclass(found, PurePath) or found.__name__ in _TEXTS else None


def _parsed(node: ast.expr, scope: dict[str, Any]) -> set[str] | None:
    if isinstance(node, ast.Constant):
        return {"null"} if node.value is None else _kinds(node.value, scope) if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(_parsed(side, scope) for side in (node.left, node.right))
    if isinstance(node, ast.Subscript):
        return _subscript(node, scope)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    known = _named(name)
    if known is not None or not isinstance(node, ast.Name) or isinstance(scope.get(name), str):
        return known
    return _kinds(scope[name], scope) if name in scope else None  # an alias of its module


def _named(name: str) -> set[str] | None:
    if name in _NEVER:
        return set()
    if name in _NAMES:
        return {_NAMES[name]}
    groups = (("list", _LISTS), ("map", _MAPS), ("str", _TEXTS))
    return next(({word} for word, names in groups if name in names), None)


def _subscript(node: ast.Subscript, scope: dict[str, Any]) -> set[str] | None:
    base = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if base == "Literal":
        return {_literal(argument.value) for argument in arguments if isinstance(argument, ast.Constant)}
    if base in ("Union", "Optional"):
        found = _union(_parsed(argument, scope) for argument in arguments)
        return found and found | ({"null"} if base == "Optional" else set())
    return _named(base)


def _literal(value: Any) -> str:
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def _union(parts: typing.Iterable[set[str] | None]) -> set[str] | None:
    found: set[str] = set()
    for part in parts:
        if part is None:
            return None
        found |= part
    return found
