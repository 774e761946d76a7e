"""The Pythons of a cluster's login node: the one that starts the node agent, and the one that trains."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Literal

from automodel_launch import contract
from automodel_launch.checks.packages import FIND, findings, lacking, needed
from automodel_launch.executors import agent_python, job_python
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Result, Results

_VERSION = "import sys; print('python %d.%d.%d' % sys.version_info[:3])"
_MISSING = (126, 127)  # a shell's codes for a program that is none, or not there


def asked(plan: Plan) -> dict[str, str]:
    """Questions to the cluster, asked in one round trip with the others."""
    questions = {}
    program = next((file.source for file in plan.files if file.path == contract.NODE_AGENT_SH), None)
    if program:
        questions["agent"] = agent_python.question(program.read_text(encoding="utf-8"), plan.profile)
    return questions


def at_login(plan: Plan) -> dict[str, str]:
    """Those for a login shell, whose variables jobs have."""
    if not job_python.is_the_nodes(plan):
        return {}
    names = " ".join(shlex.quote(need.module) for need in needed(plan))
    return {"training": f"{shlex.quote(plan.agent['python'])} -c {shlex.quote(f'{_VERSION}; {FIND}')} {names}"}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answers. Compute nodes may have other versions: there is no error but about a shared Python."""
    yield from _agent(plan, answers["agent"])
    if job_python.is_the_nodes(plan):
        yield from _training(plan, answers["training"])
        level: Literal["error", "warning"] = "error" if job_python.is_shared(plan.agent["python"]) else "warning"
        yield from findings(plan, lacking(plan, answers["training"].text), " on the login node", level)


def _agent(plan: Plan, answer: Result) -> Iterator[Finding]:
    found = agent_python.read(answer)
    if found is None or (found.python and plan.profile.agent_python in (None, found.python)):
        return
    if found.python:
        source = plan.source("agent_python")
        message = f"agent_python ({source}) does not do on the login node: {found.seen}; {found.python} would be taken."
        yield Finding("warning", "agent-python", message, f'agent_python = "{found.python}"')
        return
    inside = "the job could not save before its time limit, nor have further attempts"
    message = f"the login node has no Python {agent_python.OLDEST} or later ({found.seen or 'none at all'})"
    message += f": on nodes like it {inside if plan.image else 'the job would fail'}."
    yield Finding("warning", "agent-python", message, "agent_python = the path of one that all nodes have")


def _training(plan: Plan, answer: Result) -> Iterator[Finding]:
    where = f"python = {plan.agent['python']} ({plan.source('python')})"
    fix = "python = the path of one that all nodes have, with the packages; or setup_lines that bring it"
    match = re.search(r"^python (\d+)\.(\d+)\.\d+$", answer.text, re.MULTILINE)
    oldest = plan.recipe.oldest_python
    if answer.code in _MISSING:
        message = f"{where}: the login node has no such program: on nodes like it the job would fail."
        yield Finding("warning", "training-python", message, fix)
    elif match and oldest and (int(match[1]), int(match[2])) < oldest:
        needed = ".".join(map(str, oldest))
        message = f"{where} is {match[0].partition(' ')[2]} on the login node, and {plan.recipe.name} needs {needed}"
        yield Finding("warning", "training-python", f"{message} or later.", fix)
