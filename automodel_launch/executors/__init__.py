"""Where a job runs. One module an executor; each is found by its name, and nothing else branches on that name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from automodel_launch.errors import ClusterError, ProfileError

if TYPE_CHECKING:
    from automodel_launch.executors.inside import Inside, Wanted
    from automodel_launch.executors.job_python import JobPython, NotAtHand
    from automodel_launch.jobs.records import Record, Status
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.mounts import Mount
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.remote.filesystem import FileSystem
    from automodel_launch.remote.shell import Shell
    from automodel_launch.workspace import Workspace

_MODULES = {
    "local": f"{__name__}.local",
    "slurm": f"{__name__}.slurm.executor",
    "docker": f"{__name__}.docker.executor",
}


_TOGETHER = {"slurm": f"{__name__}.slurm.together"}


@dataclass(frozen=True)
class Order:
    """How jobs are handed over together: the sweep's name, a directory of this submission on the side where they run,
    how many may run at once, the ids of those that do already, and the number of failures after which no other job
    begins."""

    name: str
    directory: str
    at_most: int | None = None
    after: tuple[str, ...] = ()
    stop_after: int | None = None


@dataclass(frozen=True)
class Handed:
    """What came of it: what is added to the handle of each job that was taken, None for one that was not.

    `error` says why not all were; where it is SubmissionUnknown, the others may have been taken as well.
    """

    handles: tuple[dict[str, Any] | None, ...]
    error: ClusterError | None = None


class Together(Protocol):
    """What an executor offers that takes many jobs at once: they are submitted in one round trip."""

    def script(self, plans: Sequence[Plan], order: Order) -> str:
        """What is handed over, a pure function of its arguments."""

    def submit_command(self, plans: Sequence[Plan], order: Order) -> str:
        """The line of bash that does so, a pure function of its arguments."""

    def files(self, plans: Sequence[Plan], order: Order) -> dict[str, str]:
        """What lies in the directory of the submission beside the jobs' code, by name."""

    def address(self, plans: Sequence[Plan], order: Order) -> dict[str, Any]:
        """What the handle of each job holds beside `Executor.address` before it is submitted."""

    def waits_for_runs(self, plans: Sequence[Plan], order: Order) -> bool:
        """Whether those beyond the limit are held until the run of an earlier job has ended, which is more than a job
        there: somebody has to let them go."""

    def findings(self, plans: Sequence[Plan], order: Order) -> Iterator[Finding]:
        """What the place says to all of them together, which it does not to each: a limit of their number."""

    def submit(self, plans: Sequence[Plan], order: Order) -> Handed:
        """Hand them over, all of whose directories are complete."""

    def waiting(self, records: Sequence[Record]) -> dict[str, Status]:
        """Of jobs that were handed over together those that have not begun yet, by job id, in one round trip.

        One that is missing here may be anything: it has to be asked for by itself.
        """


class Executor(Protocol):
    """What each module or package here offers. NeMo-Run is imported late (`script`, `submit`): it takes seconds."""

    here: bool  # jobs run on this machine
    many_nodes: bool
    resumable: bool  # whether `resume` starts a further attempt; else a new job of the run goes on
    interrupt_stops: bool  # Ctrl-C ends a job that was started attached (it runs here), or only the following of it
    poll_s: float  # seconds between two looks at a job that is followed
    needed: tuple[str, ...]  # keys of a handle without which a job cannot be asked for
    way: tuple[str, ...]  # keys of a handle that say how its place is reached from the submitter's machine

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """Directory of the jobs' and runs' directories, on the side where the job runs."""

    def data_dir(self, profile: Profile, workspace: Workspace) -> str:
        """Default of `${run.data_dir}`, on the side where the job runs."""

    def shell(self, profile: Profile) -> Shell:
        """Where commands about the profile's place run."""

    def place(self, profile: Profile) -> FileSystem:
        """The file system of the job root."""

    def place_of(self, record: Record) -> FileSystem:
        """The same, for a job that was submitted."""

    def processes(self, profile: Profile) -> int:
        """Training processes a node."""

    def image(self, profile: Profile, source: str = "profile") -> str | None:
        """The container image that will be used, in the form that its runtime takes; `source`: where it was set."""

    def mounts(self, plan: Plan, environ: Mapping[str, str]) -> list[Mount]:
        """What the job's container sees of the machine around it; none without one."""

    def job_python(self, plan: Plan) -> JobPython | NotAtHand:
        """How the job's Python is started before there is a job; nothing is asked, and nothing started, yet."""

    def agent(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The node agent's spec (recipes/node_agent.py), a pure function of the plan and the submitter's variables."""

    def script(self, plan: Plan) -> str:
        """What is handed to the executor, a pure function of the plan."""

    def submit_command(self, plan: Plan) -> str:
        """The line of bash that hands the script over, a pure function of the plan."""

    def exported(self, plan: Plan) -> tuple[str, str]:
        """Name and text of the script that starts an exported job (executors/exported.py).

        Raises:
            ProfileError: jobs of this executor cannot be exported.
        """

    def plain(self, plan: Plan, files: str) -> str:
        """A batch script without a node agent, which reads the folder `files` beside it.

        Raises:
            ProfileError: this executor has no such script.
        """

    def address(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The part of a job's handle that is known before it is submitted: what reaches its place."""

    def find(self, record: Record) -> dict[str, Any] | None:
        """The handle of a job whose launcher ended while it submitted or resumed it; None where it did not come to it.

        Raises:
            StillSubmitting: what the launcher has started is still at it.
            ClusterError: the place does not answer, so it cannot be told.
        """

    def ready(self) -> str | None:
        """The version of NeMo-Run, which is imported; None: it does not submit these jobs.

        Raises:
            PlanRefused: it cannot.
        """

    def submit(self, plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
        """Start the job whose directory is complete; returns what is needed to find it again."""

    def status(self, record: Record) -> Status:
        """The job's state now; UNKNOWN where it cannot be told, never a guess."""

    def cancel(self, record: Record, now: bool = False) -> str | None:
        """Ask for the job's end: with time to save a checkpoint, or at once; what is to be said of how it will end."""

    def inside(self, record: Record, wanted: Wanted) -> Inside:
        """How a command is run where the job runs, beside its training.

        Raises:
            ClusterError: the place does not answer.
        """

    def again(self, record: Record) -> dict[str, Any]:
        """The handle of a job while it is being resumed: with what tells the new start from those before.

        Raises:
            JobError: it cannot be resumed here.
            ClusterError: the place does not answer.
        """

    def resume(self, record: Record, secrets: bytes | None) -> dict[str, Any]:
        """Start a job that is over again, in its directory and with what travelled then; its new handle.

        The record has the handle that `again` has given. `secrets`: content of its file of secrets, where it has one.
        """


class Holding(Protocol):
    """What a place also offers where a job in its queue can wait for the end of others, without a launcher."""

    def can_follow(self, address: Mapping[str, Any], record: Record) -> bool:
        """Whether a job with that address can wait for the run of the record's job."""

    def let_go(self, record: Record) -> None:
        """Let a job that was submitted held begin as soon as the place has room for it."""


def holding(name: str) -> Holding | None:
    """The same executor, where it is one that can; None where jobs cannot wait there."""
    return getattr(importlib.import_module(_MODULES[name]), "HOLDING", None) if name in _MODULES else None


def get(name: str) -> Executor:
    """The executor of that name.

    Raises:
        ProfileError: it is not there yet.
    """
    if name not in _MODULES:
        raise ProfileError(
            f'executor = "{name}" cannot be used with this version.', f"executors: {', '.join(_MODULES)}"
        )
    return importlib.import_module(_MODULES[name]).EXECUTOR  # type: ignore[no-any-return]  # a module's attribute


def together(name: str) -> Together | None:
    """What hands over many jobs at once on the executor of that name; None where each is submitted by itself."""
    return importlib.import_module(_TOGETHER[name]).TOGETHER if name in _TOGETHER else None
