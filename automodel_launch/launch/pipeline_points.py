"""Running the points of a step that is a sweep: handed over together, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automodel_launch import executors
from automodel_launch.errors import LaunchError, PlanRefused, UsageError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import pipeline_sweeps, planning, sweep_beside, sweep_checking, sweep_submit, sweeping
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.pipelining import Maker, environ_of
from automodel_launch.launch.submit import submit
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.plangraph import FINISHED, Step
from automodel_launch.plan.planset import PlanSet, named


def refuse_detached(step: Step) -> None:
    """Where a place takes one job at a time, a detached sweep has nobody who starts the second point.

    Raises:
        UsageError: the step is such a sweep.
    """
    left = len(step.plans) - len(step.points)
    if step.sweep is not None and step.to_do and left > 1 and executors.together(step.plan.executor) is None:
        raise UsageError(
            f"step {step.name}: profile {step.plan.profile_name} (executor '{step.plan.executor}') takes one job at a"
            " time, and a detached sweep has nobody who starts the next one. Nothing was submitted.",
            "--run instead of --batch: this command then starts one after the other",
        )


@dataclass(frozen=True)
class Points:
    """The points of a step that are to do. `follow` is that of a Runner."""

    maker: Maker
    step: Step
    made: PlanSet
    interrupts: Interrupts
    say: Callable[[str], None]
    follow: Callable[[str, Record, bool, Interrupts], tuple[Status, int]]

    @property
    def _folder(self) -> Any:
        return self.maker.workspace.records

    def submit(self, after: Sequence[Mapping[str, Any]]) -> int:
        """All in one round trip; how many there were.

        Raises:
            PlanRefused: another checkout has submitted some, so that nothing can wait for them from here.
            LaunchError: see sweep_submit.submit_together.
        """
        environ = environ_of(self.maker)

        def behind(plan: Plan, runs: Any) -> Plan:  # as it is shown, with how those jobs are found
            same = not runs and not plan.after
            return plan if same else planning.with_job_id(replace(plan, after=runs), plan.job_id, environ)

        made = pipeline_sweeps.behind(self.step, tuple(after), behind).sweep
        assert made is not None  # the step is a sweep
        with sweep_beside.alone(made, self._folder, environ, self.say, self.maker.offline):
            beside = sweep_checking.standing(made, self.maker.workspace, self.maker.offline)[1]
            made = sweeping.ready(made, self.maker.workspace, self.step.points, beside)
            if len(self.step.points) == len(made.points):  # all wait, or run
                sweep_submit.record_sweep(made, self.maker.workspace)
                return 0
            options: Any = (environ, self.interrupts, self.say, self.step.points, beside)
            submitted = sweep_submit.submit_together(made, self.maker.workspace, *options)
        self._refuse_elsewhere(len(submitted))
        return len(submitted)

    def _refuse_elsewhere(self, submitted: int) -> None:
        ours = {record.run_name for record in self.jobs()}
        theirs = [name for name in self._left if name not in ours]
        if theirs:
            message = f"another checkout has submitted {named(theirs)}, and no step can wait for that from here."
            more = f" Of {self.made.name} {submitted} went into the queue; no later step did." if submitted else ""
            raise PlanRefused(message + more, "the same command there; or here, once that has ended")

    def one_by_one(self) -> tuple[int, int]:
        """Here; the exit code of the first one that has failed, and how many have completed in all."""
        sweep = sweep_submit.record_sweep(self.made, self.maker.workspace)
        completed = sum(state == FINISHED for state in self.step.points.values())
        codes: list[int] = []
        for point in self.made.points:
            if self.step.has_ended(point.plan.run_name) or self.interrupts.received:
                continue
            called = f"{self.made.name}.{sweep.numbers[point.plan.run_name]}"
            self.say(f"{called}: {' '.join(f'{key}={value}' for key, value in point.settings)}")
            codes.append(self._one(called, point.plan))
            failed = sum(code != 0 for code in codes)
            if self.made.stop_after and failed >= self.made.stop_after:
                self.say(f"{self.made.name}: no further point is started after the failures of {failed}")
                break
        return next((code for code in codes if code), 0), completed + codes.count(0)

    def _one(self, called: str, plan: Plan) -> int:
        busy = [one for one in self.jobs() if one.run_name == plan.run_name and plan.run_name in self.step.points]
        if busy:
            return self.follow(self.step.name, busy[0], False, self.interrupts)[1]
        try:
            _, record = submit(plan, self.maker.workspace, environ_of(self.maker), self.interrupts, self.say)
        except LaunchError as error:
            self.say(f"{called} was not started: {error.message}")
            return error.exit_code
        return self.follow(self.step.name, record, True, self.interrupts)[1]

    def jobs(self) -> list[Record]:
        """The last job of each point that had not ended before, in the order of the plans."""
        last = {record.run_name: record for record in records.all_records(self._folder)}
        return [last[name] for name in self._left if name in last]

    @property
    def _left(self) -> list[str]:
        """The runs of the points that had not ended before."""
        return [plan.run_name for plan in self.made.plans if not self.step.has_ended(plan.run_name)]
