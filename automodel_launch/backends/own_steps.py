"""Classes and functions of a user's own files that a config calls: what their text tells, as nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_NOT_CALLED = (ast.Constant, ast.List, ast.Dict, ast.Tuple, ast.Set, ast.JoinedStr)
_OF_STEPS = ("__call__", "__getitem__")


def refused(text: bytes, name: str, given: Collection[str]) -> str | None:
    """Why calling `name` of a file with arguments of these names fails; None where that cannot be told."""
    node = _defined(text, name)
    if isinstance(node, _NOT_CALLED):
        return f"{name} is {ast.unparse(node)[:40]}, no class and no function"
    if isinstance(node, _Function):
        return _lacking(node, given, 0) if not node.decorator_list else None
    if not isinstance(node, ast.ClassDef) or node.decorator_list or node.keywords:
        return None
    made = next((one for one in node.body if isinstance(one, _Function) and one.name in ("__init__", "__new__")), None)
    if made is not None:
        return _lacking(made, given, 1) if not made.decorator_list else None
    return f"{name} takes no argument, and is given {', '.join(given)}" if given and not node.bases else None


def no_step(text: bytes, name: str) -> str | None:
    """Why what a class makes is none of datatrove's steps: it has no base and cannot be called."""
    node = _defined(text, name)
    if not isinstance(node, ast.ClassDef) or node.bases or node.keywords or node.decorator_list:
        return None
    has = {getattr(one, "name", None) for one in node.body}
    has |= {target.id for one in node.body for target in getattr(one, "targets", ()) if isinstance(target, ast.Name)}
    if has & {*_OF_STEPS, "__new__"}:
        return None
    return f"{name} is no step of datatrove's: it has no base and no __call__"


def imported(text: bytes) -> Iterator[str]:
    """Packages that importing a file needs: of its own lines, not of those in functions, `if` and `try`."""
    for node in _body(text):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


_ENDS = ("sys.exit", "exit", "quit", "os._exit", "os.abort")


def ending(text: bytes, *, is_script: bool = False) -> str | None:
    """The statement of a file's own lines that ends the job whenever it is imported, with its line, or None.

    Not those in functions, `if` and `try`. A script may end so, but not with a code that says it has failed.
    """
    for node in _body(text):
        call = node.value if isinstance(node, ast.Expr) else None
        ends = isinstance(call, ast.Call) and ast.unparse(call.func) in _ENDS
        if isinstance(node, ast.Raise) or (
            ends and isinstance(call, ast.Call) and not (is_script and _may_be_good(call))
        ):
            return f"line {node.lineno}, `{ast.unparse(node)[:60]}`"
        if ends:
            return None  # what follows is never reached
    return None


def _may_be_good(call: ast.Call) -> bool:
    """The exit code is 0, or what a function says."""
    if not call.args:
        return ast.unparse(call.func) != "os.abort"
    return not (isinstance(call.args[0], ast.Constant) and call.args[0].value not in (0, None))


def _body(text: bytes) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):  # told elsewhere
        return []


def _defined(text: bytes, name: str) -> ast.AST | None:
    """What a name is at the end of a file; None where more than one statement may say so."""
    found: list[ast.AST] = []
    for node in _body(text):
        if isinstance(node, (*_Function, ast.ClassDef)) and node.name == name:
            found.append(node)
        elif isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            found.append(node.value)
        elif not isinstance(node, (*_Function, ast.ClassDef, ast.Assign, ast.Expr)):
            found += [one for one in ast.walk(node) if _names(one, name)] * 2
    return found[0] if len(found) == 1 else None


def _names(node: ast.AST, name: str) -> bool:
    return name in (getattr(node, "name", None), getattr(node, "asname", None), getattr(node, "id", None))


def _lacking(node: ast.FunctionDef | ast.AsyncFunctionDef, given: Collection[str], own: int) -> str | None:
    """`own`: arguments that come before those of the call, as self."""
    takes = node.args
    places = [*takes.posonlyargs, *takes.args][own:]
    optional = len(takes.defaults)
    needed = [one.arg for one in places[: len(places) - optional]]
    needed += [one.arg for one, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True) if default is None]
    known = [one.arg for one in (*places, *takes.kwonlyargs)]
    surplus = [] if takes.kwarg else [name for name in given if name not in known]
    missing = [name for name in needed if name not in given]
    who, it_takes = "the class" if own else node.name, f"; it takes {', '.join(known) or 'none'}"
    if surplus:
        return f"{who} takes no argument {surplus[0]!r}{it_takes}"
    return f"{who} needs the argument {missing[0]!r}{it_takes}" if missing else None
