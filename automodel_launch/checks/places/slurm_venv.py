"""`venv_archive` of a profile: is it there, and an archive?"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.executors.slurm import venv_archive
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

_ASKED = "venv"


def asked(plan: Plan) -> dict[str, str]:
    """Questions to the cluster, asked in one round trip with the others."""
    path = plan.profile.venv_archive
    return {_ASKED: venv_archive.question(path)} if path else {}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answers."""
    path = plan.profile.venv_archive
    fault = venv_archive.fault(answers[_ASKED]) if path else None
    if fault:
        message = f"venv_archive = {path} ({plan.source('venv_archive')}): {fault}."
        fix = f"tar -czf {path} -C ENVIRONMENT . on the cluster; docs/slurm.md has what an environment needs for that"
        yield Finding("error", "venv-archive", message, fix)
