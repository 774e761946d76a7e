"""Targets in the user's own code: the file travels, and has the name."""

from __future__ import annotations

import ast
import os
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from automodel_launch.backends import Need, own_steps
from automodel_launch.config import envscope
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import did_you_mean

_VARIABLE = "PYTHONPATH"
_IN_FILE = re.compile(r"[^:]+\.py:[A-Za-z_]\w*")


def in_file(plan: Plan, key: str, path: str) -> Iterator[Finding]:
    """`FILE.py:NAME`; the job reads a relative FILE in its own copy of the code."""
    file, _, name = path.partition(":")
    if not file.endswith(".py"):
        message = f"{describe_value(plan, key, path)}: a .py file is expected before the colon."
        yield Finding("error", "unknown-target", message, f"{key}=package.module.Name, or FILE.py:NAME")
    elif file.startswith("/"):
        if plan.visible and not Path(file).is_file():
            message = f"{describe_value(plan, key, path)}: {file} does not exist."
            yield Finding(
                "error", "unknown-target", message, f"{key}=FILE.py:{name}, with FILE.py below a path of `code`"
            )
        else:
            yield from _named(plan, key, path, text(plan, path) or b"")
    else:
        yield from _travelling(plan, key, path, file, name)


def text(plan: Plan, path: str) -> bytes | None:
    """What `FILE.py:NAME` will be read from; None where that is not known here."""
    file = path.partition(":")[0]
    if not file.startswith("/"):
        found = _travels(plan, file)
        return _text(found) if found else None
    try:
        return Path(file).read_bytes() if plan.visible else None
    except OSError:
        return None


def needs(plan: Plan) -> Iterator[Need]:
    """Packages that the config's own files import as they are read, but for what lies beside them."""
    for key, path in _in_files("", plan.config):
        folder = posixpath.dirname(path.partition(":")[0])
        for name in dict.fromkeys(own_steps.imported(text(plan, path) or b"")):
            beside = [f"{folder}/{name}".lstrip("/"), name] if not folder.startswith("/") else []
            own = any(file.path.startswith((f"code/{one}/", f"code/{one}.py")) for one in beside for file in plan.files)
            near = folder.startswith("/") and any(Path(folder, one).exists() for one in (name, f"{name}.py"))
            if not (own or near or name in sys.stdlib_module_names):
                yield Need(name, key)


def _in_files(key: str, value: object) -> Iterator[tuple[str, str]]:
    """(key, FILE.py:NAME) of every value of that form, however deep."""
    if isinstance(value, Mapping):
        items = [(f"{key}.{name}" if key else str(name), item) for name, item in value.items()]
    else:
        items = [(f"{key}.{i}", item) for i, item in enumerate(value)] if isinstance(value, list) else []
    for inner, item in items:
        if isinstance(item, str) and _IN_FILE.fullmatch(item):
            yield inner, item
        else:
            yield from _in_files(inner, item)


def _travels(plan: Plan, file: str) -> PlannedFile | None:
    wanted = posixpath.normpath(f"code/{file}")
    return next((planned for planned in plan.files if planned.path == wanted), None)


def in_module(plan: Plan, key: str, path: str) -> Iterator[Finding]:
    """A dotted path of the user's own code that travels: Python finds recipes/ there, and nothing else."""
    top = path.partition(".")[0]
    names = [file.path for file in plan.files]
    beside = any(name.startswith((f"code/recipes/{top}/", f"code/recipes/{top}.py")) for name in names)
    own = next((name for name in names if name.startswith((f"code/{top}/", f"code/{top}.py"))), None)
    if own and not beside and not (sets_path(plan) or _is_inherited(plan, top)):
        module, _, name = path.rpartition(".")
        message = f"{describe_value(plan, key, path)}: {top} travels, but is not on the job's Python path."
        yield Finding("error", "unknown-target", message, f"{key}={module.replace('.', '/')}.py:{name}")


def sets_path(plan: Plan) -> bool:
    """Whether the profile may set what the job's Python imports from: where that is cannot be told."""
    profile = plan.profile
    lines = profile.shell_lines
    named = {*profile.env_vars, *profile.env, *profile.secrets}
    return _VARIABLE in named or any(_VARIABLE in line for line in lines) or envscope.reads_a_file(lines)


def _is_inherited(plan: Plan, top: str) -> bool:
    """A job that runs here has this shell's variables."""
    if not plan.here or plan.image is not None:
        return False
    folders = [folder for folder in os.environ.get(_VARIABLE, "").split(os.pathsep) if folder.startswith("/")]
    return any(Path(folder, name).exists() for folder in folders for name in (top, f"{top}.py"))


def _travelling(plan: Plan, key: str, path: str, file: str, name: str) -> Iterator[Finding]:
    found = _travels(plan, file)
    if found is None:
        message = f"{describe_value(plan, key, path)}: {file} does not travel with the job."
        folder = posixpath.dirname(file) or file
        yield Finding("error", "stays-here", message, f'code = ["{folder}"] in the profile, or run.env.code=[{folder}]')
        return
    yield from _named(plan, key, path, _text(found))


def _named(plan: Plan, key: str, path: str, text: bytes) -> Iterator[Finding]:
    file, _, name = path.partition(":")
    wrong = not_python(file, text)
    if wrong:
        level, why = wrong
        message = f"{describe_value(plan, key, path)}: Python {sys.version_info[0]}.{sys.version_info[1]} does not read"
        yield Finding(level, "not-python", f"{message} {why}.", f"python -m py_compile {file} tells the same")
    ending = own_steps.ending(text)
    if ending:
        message = f"{describe_value(plan, key, path)}: importing {file} ends the job: {ending}."
        yield Finding("error", "ends-the-job", message, 'put it below `if __name__ == "__main__":`, or into a function')
    names = _names(text) if text else None
    if names is not None and name not in names:
        message = f"{describe_value(plan, key, path)}: {file} has no '{name}'."
        yield Finding("error", "unknown-target", message, (did_you_mean(name, names) or f" {file} has {names}").strip())


# What Pythons after the launcher's oldest have: another one may read it.
_NEWER = re.compile(r"except\s*\*|except\s[^:(]*,|^\s*type\s+\w+|(def|class)\s+\w+\s*\[|\b[tT]?[fFtT][rR]?[\"']")


def not_python(name: str, text: bytes) -> tuple[Literal["error", "warning"], str] | None:
    """Why no Python reads a file: a level, and the place with what is wrong there; None where this one reads it.

    A warning where a newer Python than this may.
    """
    try:
        compile(text, name, "exec", dont_inherit=True, flags=ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        line = (error.text or "").strip()
        newer = sys.version_info < (3, 14) and _NEWER.search(line)
        shown = f": {line[:80]}" if line else ""
        return "warning" if newer else "error", f"{name}, line {error.lineno}: {error.msg}{shown}"
    except (ValueError, RecursionError, MemoryError):
        return None
    return None


def _text(file: PlannedFile) -> bytes:
    try:
        return file.committed.content if file.committed else file.source.read_bytes()
    except OSError:  # submitting it says so
        return b""


def _names(text: bytes) -> list[str] | None:
    """The names at the top level of a file; None where they are not known (`import *`, not Python)."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    names: list[str] = []
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        elif not isinstance(node, ast.Expr):
            return None
    return None if "*" in names else names
