"""Everything that would refuse a plan: what the checks find, and another job of its run in the queue."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from automodel_launch import checks
from automodel_launch.checks import in_order as in_order
from automodel_launch.errors import ClusterError, PlanRefused
from automodel_launch.launch import claim, edges, on_checkpoint
from automodel_launch.launch.submit import record_of
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.rehearsal import rehearsing, wanted
from automodel_launch.rehearsal.rehearsing import Outcome
from automodel_launch.rehearsal.text import not_made


def run(plan: Plan, offline: bool = False, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """All findings, errors first; unless `offline`, the place where the job will run is asked too."""
    found = checks.run(plan, offline=offline)
    found += on_checkpoint.findings(plan, tuple(found))
    asks = plan.here or not offline
    if asks and all(finding.code != "unreachable" for finding in found):
        found = _with_active(found, list(_active(plan, os.environ if environ is None else environ)))
    if asks and plan.after:
        found += edges.findings(plan)
    return checks.in_order(found)


def rehearse(
    plan: Plan,
    found: list[Finding],
    folder: Path,
    option: wanted.Option,
    *,
    submits: bool,
    offline: bool = False,
    say: Callable[[str], None] = lambda said: None,
) -> Outcome:
    """Rehearse the plan where that is wanted, and `found`, the findings of `run`, leave something to rehearse.

    `submits`: a submission comes next, `folder` keeps the answers.
    """
    how = wanted.of(plan, option, submits)
    if how is None:
        return Outcome()
    makers = {who for _, who, done in plan.promised if not done}
    if makers:  # it reads data and weights
        reason = f"{', '.join(sorted(makers))} makes what it reads"
        return Outcome([not_made(reason)] if how.asked else [])
    errors = sum(finding.level == "error" for finding in found)
    if errors:
        reason = f"{errors} error{'s' if errors > 1 else ''} would refuse the plan already"
        return Outcome([not_made(reason)] if how.asked else [])
    if any(finding.code == "unreachable" for finding in found):
        return Outcome([not_made("the cluster could not be reached")] if how.asked else [])
    return rehearsing.rehearse(plan, how, folder, offline=offline, say=say)


def _with_active(found: list[Finding], active: list[Finding]) -> list[Finding]:
    """One finding of a job: a claim tells its state, and where it was launched; a check sees an agent at work."""
    said = [finding for finding in found if finding.code == "run-active"]
    if said and all(finding.level != "error" for finding in active):
        return found
    return [finding for finding in found if finding not in said] + active


def _active(plan: Plan, environ: Mapping[str, str]) -> Iterator[Finding]:
    """`submit` asks again, under the claim that it makes: by then another launcher may have been faster."""
    try:
        claim.refuse_while_busy(record_of(plan, environ), plan.place)
    except PlanRefused as error:
        yield Finding("error", "run-active", error.message, error.hint)
    except ClusterError as error:
        yield Finding("warning", "run-active", error.message, error.hint)
