"""The data of a run: are they those that it began with? A new job on other data would train on them in silence."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract, data_identity
from automodel_launch.jobs import rundir
from automodel_launch.plan import naming
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.mounts import pairs
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

_QUESTION = "identity"  # in the round trip that other questions take too
_MOST = 60_000  # characters of a request: it goes through command lines, of which one word may have 128 KiB
_ENDING = "import sys\nprint(json.dumps(answer(json.loads(sys.argv[1]))))\n"
_FIX = "give it those data again; --fresh for a new run; run.data_changed=allow goes on with these"


def same_data(plan: Plan) -> Iterator[Finding]:
    """A run that began with other data."""
    if plan.data and plan.visible:
        begun, done = rundir.data(plan.run_dir), _steps_kept(plan)
        yield from _judged(plan, data_identity.compare(begun, plan.data, done))
        yield from _later(plan, data_identity.changes_later(begun, plan.data, done))


def not_known(plan: Plan) -> Iterator[Finding]:
    """Data that the plan's hash says nothing about, though they may be there."""
    if plan.data and not plan.data["digest"] and plan.data["elsewhere"]:
        message = f"what data the run trains on is not known here ({plan.data['why']}): the job takes that in when it"
        message += " begins, and ends if the run began with other data."
        yield Finding("note", "data-not-known", message)


def other_name(plan: Plan) -> Iterator[Finding]:
    """The run has the name that it got where its data were not known: from a former release, or too early."""
    digest = plan.data.get("digest")
    parts, words = (plan.recipe.name, plan.config_name), naming.readable(plan.run_name)
    names = [naming.run_name(*parts, plan.identity or plan.trained, data, words) for data in (digest, None)]
    if not digest or not plan.visible or plan.run_name != names[0] or plan.place.names(plan.run_dir):
        return
    other = f"{plan.job_root}/{names[1]}"
    begun = rundir.data(other, plan.place)
    if contract.RUN in plan.place.names(other) and begun.get("digest") in (None, digest):
        message = f"run {names[1]} has these settings, from a launch that did not know its data;"
        message += f" {plan.run_name} is a new one."
        yield Finding("warning", "other-name", message, f"--name {names[1]} goes on with it")


def asked(plan: Plan) -> dict[str, str]:
    """The same question to a cluster whose files this machine does not see."""
    if not plan.data or plan.visible:
        return {}
    mounts = pairs(plan.mounts)
    return question(plan.data["named"], mounts, plan.run_dir, _steps_kept(plan))


def question(named: Any, mounts: list[list[str]], run_dir: str, done: int | None = None) -> dict[str, str]:
    """A script for bash there; none where the config names too much for a command line."""
    request = {"named": named, "mounts": mounts, "begun": f"{run_dir}/{contract.DATA}", "done": done}
    text = json.dumps(request, separators=(",", ":"))
    script = Path(data_identity.__file__).read_text(encoding="utf-8") + _ENDING
    return {} if len(text) > _MOST else {_QUESTION: f"python3 -c {shlex.quote(script)} {shlex.quote(text)}"}


def answered(plan: Plan, results: Results) -> Iterator[Finding]:
    """Findings from the answer; without one, the job itself compares."""
    if plan.data and not plan.visible:
        yield from _judged(plan, differences(results))
        yield from _later(plan, _answer(results).get("later") is True)


def differences(results: Results) -> list[str]:
    """Of the answer to `question`."""
    told = _answer(results).get("differences")
    return [str(line) for line in told] if isinstance(told, list) else []


def _answer(results: Results) -> Mapping[str, Any]:
    try:
        answer = json.loads(results[_QUESTION].text.rpartition("\n")[2])
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, Mapping) else {}


def _steps_kept(plan: Plan) -> int | None:
    """Steps that the run goes on from, asked for where its data depend on that."""
    if not data_identity.depends_on_steps(plan.data["named"]):
        return None
    directory = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    return rundir.steps_kept(directory, plan.place)


def _later(plan: Plan, changed: bool) -> Iterator[Finding]:
    if changed:
        message = f"run {plan.run_name} goes on with other data than it began with, in phases that it has not come to."
        yield Finding("note", "data-changed", message)


def _judged(plan: Plan, changed: list[str]) -> Iterator[Finding]:
    if not changed:
        return
    message = f"run {plan.run_name} began with other data: {'; '.join(changed)}."
    if plan.data["allow"]:
        yield Finding("warning", "data-changed", f"{message} It goes on with these (run.data_changed=allow).")
    else:
        yield Finding("error", "data-changed", message, _FIX)


CHECKS = (same_data, not_known, other_name)
