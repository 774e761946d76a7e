"""Where a job writes and how the node agent starts it: setup lines, the command line that it builds, environment."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.commands import console
from automodel_launch.profile.secret_names import is_secret

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

Row = tuple[str, str]
_ASSIGNED = re.compile(r"""\b([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;&|]*)""")
SETUP = 6  # lines that the first screen has room for
_AGENT = f"{contract.RECIPES}/node_agent_lib/__init__.py"
_PACKAGE = "launch_node_agent_lib"  # a name of its own: tests import the agent's under its real one


def lines(plan: Plan, full: bool) -> Iterator[Row]:
    """Rows of (label, text)."""
    yield "job dir", plan.job_dir
    yield "run dir", f"{plan.run_dir} (of all its jobs)"
    setup = [*plan.agent["setup_lines"], *plan.agent["startup_commands"]]
    for line in setup if full else setup[:SETUP]:
        line = _ASSIGNED.sub(_hidden, line)
        yield "setup", line if full else console.cut(line, 2 * console.width())
    if len(setup) > SETUP and not full:
        yield "setup", f"and {len(setup) - SETUP} more lines: --full"
    command = " ".join(_word(word) for word in training_command(plan) or plan.command)
    yield "command", command if full else command.replace(f"{plan.job_dir}/", "$LAUNCH_JOB_DIR/")
    own = [f"{name}={_shown(name, value)}" for name, value in plan.agent["env"].items()]
    text = " ".join(own if full else [one for one in own if not one.startswith("LAUNCH_")])
    if text:
        yield "env", text if full else console.cut(text, 2 * console.width() - 30)
    yield "submit", plan.submit
    if plan.profile.secrets:
        yield "secrets", f"{console.listed(plan.profile.secrets)} (secret, by name; values are never shown)"


def _word(word: str) -> str:
    return word if word.startswith("$") else shlex.quote(word)


def _hidden(found: re.Match[str]) -> str:
    """`export HF_TOKEN=abc` in a setup line; what refers to another variable tells nothing."""
    return f"{found[1]}=(not shown)" if is_secret(found[1]) and not found[2].startswith(("$", '"$')) else found[0]


def _shown(name: str, value: str) -> str:
    return "(not shown)" if is_secret(name) else shlex.quote(value)


def training_command(plan: Plan) -> list[str] | None:
    """What the agent that travels would start, by its own function; None where no agent of ours travels.

    It is node 0's. `$HEAD_NODE` stands for its name, `$TMP` for a folder of the node's own.
    """
    source = next((file.source for file in plan.files if file.path == _AGENT), None)
    if source is None:
        return None
    command, spec = (_module(Path(source), name) for name in ("command", "spec"))
    values = {**plan.agent, "rendezvous": spec.Rendezvous(**plan.agent["rendezvous"])}
    agent = f"{plan.job_dir}/{contract.NODE_AGENT}"
    head = "$HEAD_NODE" if plan.nodes > 1 else None
    found: list[str] = command.training_command(spec.Spec(**values), plan.agent["python"], agent, "$TMP", 0, head)
    return found


def _module(source: Path, name: str) -> Any:
    """A module of the agent's package, which is in the folder of recipes and of no package that can be imported."""
    if _PACKAGE not in sys.modules or sys.modules[_PACKAGE].__file__ != str(source):
        for old in [module for module in sys.modules if module.partition(".")[0] == _PACKAGE]:
            del sys.modules[old]
        folder = [str(source.parent)]
        found = importlib.util.spec_from_file_location(_PACKAGE, source, submodule_search_locations=folder)
        if found is None or found.loader is None:
            raise ImportError(f"{source} cannot be imported")
        sys.modules[_PACKAGE] = package = importlib.util.module_from_spec(found)
        found.loader.exec_module(package)
    former = sys.modules.get("contract")
    sys.modules["contract"] = contract  # beside the package in the job, and there imported by that name
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    finally:
        del sys.modules["contract"]
        if former is not None:
            sys.modules["contract"] = former
