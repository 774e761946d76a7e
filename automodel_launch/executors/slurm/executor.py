"""A Slurm cluster, through NeMo-Run's SlurmExecutor: from a login node, or over SSH.

NeMo-Run writes the batch script and submits it; what the script starts, once a node, is the node agent. Its tunnels
are not used: LocalTunnel copies nothing unless its folders have certain names, and SSHTunnel (paramiko) takes unknown
and changed host keys in silence (0.11.1). A tunnel of our own hands NeMo-Run's sbatch call to our shell instead.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, ProfileError
from automodel_launch.executors import agent, job_python, nemo, sbatch_validation
from automodel_launch.executors.containers import container
from automodel_launch.executors.inside import Inside, Wanted
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH
from automodel_launch.executors.slurm import (
    array_task,
    cancelling,
    chains,
    exported,
    held,
    inside,
    one_task,
    plain,
    script,
    silent,
    spares,
    state,
    submission,
    venv_archive,
)
from automodel_launch.executors.slurm.variables import expanded_there
from automodel_launch.jobs.records import Record, Status
from automodel_launch.plan.mounts import Mount, expanded
from automodel_launch.remote import slurm_query
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell, Shell
from automodel_launch.remote.slurm_environment import CLEAN
from automodel_launch.remote.slurm_query import Job, Task
from automodel_launch.remote.ssh import SshShell

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

PORTS = range(20000, 30000)  # below Linux's ephemeral ports, above most services
_AFTER = "after"  # in a handle while the job is being resumed
_ARRAY = "array"  # in a handle: the directory of the array a task of which makes the job's first attempt
_TOGETHER = "together"  # in a handle: the directory of the submission that hands over this job with others


class Slurm:
    """Executor `slurm`."""

    here = False
    many_nodes = True
    interrupt_stops = False
    resumable = True
    poll_s = 2.0
    needed = ("slurm_id",)
    way = ("tunnel", "host", "user", "identity", "slurm_conf")

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """`remote_job_dir`; from a login node runs/ in the checkout where none is given.

        It may begin with `~` or `$NAME`, which the cluster is asked for where it is reached over SSH.

        Raises:
            ProfileError: it is not absolute, or has characters that a batch script cannot carry.
            ClusterError: the cluster cannot be asked.
        """
        written = profile.remote_job_dir
        if written is None and profile.tunnel == "ssh":
            raise ProfileError(
                "remote_job_dir is missing: over SSH it names the job root on the cluster.",
                'remote_job_dir = "/lustre/USER/jobs", or another directory that the login node and all nodes see',
            )
        root = str(workspace.runs) if written is None else written
        if profile.tunnel == "ssh":
            root = expanded_there(self.shell(profile), root, "remote_job_dir")
        else:
            root = str(Path(expanded(root, os.environ, "remote_job_dir")).absolute())
        if not SAFE_PATH.fullmatch(root):
            raise ProfileError(
                f"remote_job_dir = {root!r}: a batch script cannot carry this path.",
                "an absolute path of letters, digits and _ . / @ + , = -; ~/ or $NAME/ before it is the cluster's",
            )
        if NEMO_RUN in root:
            raise ProfileError(
                f"remote_job_dir = {root!r}: NeMo-Run replaces '{NEMO_RUN}' wherever it stands in a script.",
                f"a path without '{NEMO_RUN}' in it",
            )
        return root.rstrip("/")

    def data_dir(self, profile: Profile, workspace: Workspace) -> str:
        """data/ below the job root; data/ in the checkout where that holds the job root."""
        return str(workspace.data) if profile.remote_job_dir is None else f"{self.job_root(profile, workspace)}/data"

    def shell(self, profile: Profile) -> Shell:
        """Where Slurm's commands run."""
        return _shell(profile.model_dump())

    def shell_of(self, record: Record) -> Shell:
        """The same, for a job that was submitted."""
        return _shell(record.handle)

    def place(self, profile: Profile) -> FileSystem:
        """This machine's file systems on a login node, else those behind the connection."""
        return RemoteFileSystem(_shell(profile.model_dump())) if profile.tunnel == "ssh" else LOCAL

    def place_of(self, record: Record) -> FileSystem:
        """The same, for a job that was submitted."""
        return RemoteFileSystem(_shell(record.handle)) if record.handle.get("tunnel") == "ssh" else LOCAL

    def processes(self, profile: Profile) -> int:
        """`nproc_per_node`, default `gpus_per_node`; 1 where that is 0.

        Raises:
            ProfileError: neither is a number: this machine cannot count the cluster's GPUs.
        """
        wanted = profile.gpus_per_node if profile.nproc_per_node in (None, "auto") else profile.nproc_per_node
        if wanted == 0:
            return 1
        if not isinstance(wanted, int):
            raise ProfileError(
                "nproc_per_node: the number of training processes a node is not given.", "gpus_per_node = 8"
            )
        return wanted

    def image(self, profile: Profile, source: str = "profile") -> str | None:
        """`container_image`, by default the recipe's own image; "none" is the bare node."""
        return container.image_text(profile, source)

    def mounts(self, plan: Plan, environ: Mapping[str, str]) -> list[Mount]:
        """The profile's, the job root, and the job's directory at /nemo_run; `~` and `$NAME` are the cluster's."""
        found = container.of(plan)
        return [*found.mounts, Mount(plan.job_dir, NEMO_RUN)] if found else []

    def job_python(self, plan: Plan) -> JobPython | NotAtHand:
        """On the login node, where that has the nodes' Python; or in one task of srun's, where wanted."""
        if plan.profile.venv_archive:
            return NotAtHand(f"the job's Python is in {plan.profile.venv_archive}, which the nodes unpack")
        shell = self.shell(plan.profile)
        if plan.profile.rehearse_in == "srun":
            return one_task.of(plan, shell)
        where = f"on the login node {shell.place}" if plan.profile.tunnel == "ssh" else "on this login node"
        return job_python.of_login_node(plan, shell, where)

    def agent(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The agents meet on a port of this job's own, since two jobs may have one head node; one torchrun on any.

        Raises:
            ProfileError: the profile has what a batch script cannot carry.
        """
        sbatch_validation.check(plan.profile, plan.profile_sources)
        container.of(plan)
        number = int(hashlib.sha256(plan.job_dir.encode()).hexdigest(), 16)
        alone = plan.nodes == 1 and plan.recipe.launch != "python"
        port = plan.profile.rdzv_port or (None if alone else PORTS[number % len(PORTS)])
        archive = venv_archive.checked(plan.profile, plan.profile_sources)
        python = venv_archive.python(archive) if archive else plan.profile.python or "python3"
        beside = spares.checked(plan.profile, plan.profile_sources)
        where = functools.partial(agent.spec, stop_with_parent=False, inherits=False, spares=beside)
        limits = chains.limits(plan.profile)
        return where(plan, environ, python=python, port=port, chain=limits, venv_archive=archive)

    def script(self, plan: Plan) -> str:
        """The complete sbatch text, as NeMo-Run makes it; nothing is asked of a cluster."""
        return script.text(plan)

    def submit_command(self, plan: Plan) -> str:
        """SBATCH_* variables would win over the script's lines, which the plan shows, and SLURM_* reach the job."""
        return f"{CLEAN}; cd {plan.job_dir} && {script.sbatch_command(plan)}"

    def exported(self, plan: Plan) -> tuple[str, str]:
        """A batch script that becomes the job's own."""
        return contract.SCRIPT, exported.text(plan)

    def plain(self, plan: Plan, files: str) -> str:
        """A batch script of torchrun's.

        Raises:
            ProfileError: what starts the job's Python is the node agent.
        """
        if plan.profile.venv_archive:
            message = f"venv_archive = {plan.profile.venv_archive}: a script without the node agent cannot unpack it."
            raise ProfileError(message, "python in place of it; or a script with the node agent")
        return plain.text(plan, files)

    def address(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """How the cluster is reached, and which one it is."""
        conf = environ.get("SLURM_CONF") if plan.profile.tunnel != "ssh" else None
        keys = ("tunnel", "host", "user", "identity", "stop_grace")
        address = {"slurm_conf": conf, **{key: getattr(plan.profile, key) for key in keys}}
        folder = plan.agent.get("checkpoint_dir")
        if plan.evaluation is not None and folder:  # of on_checkpoint: where their markers are
            address[contract.EVALUATIONS] = f"{folder}/{contract.EVALUATIONS}"
        return address

    def find(self, record: Record) -> dict[str, Any] | None:
        """By its script in Slurm's queue, else by what the job has written into its run's history."""
        shell, handle = _shell(record.handle), record.handle
        if handle.get(_ARRAY) is not None:
            slurm_id = array_task.find(shell, handle[_ARRAY], record.job_dir)
        elif handle.get(_TOGETHER) is not None:
            slurm_id = array_task.find_among(shell, handle[_TOGETHER], record.job_id, record.job_dir)
        else:
            slurm_id = submission.find(shell, record.job_id, record.job_dir, handle.get(_AFTER))
        return None if slurm_id is None else _handle(record, slurm_id)

    def ready(self) -> str | None:
        """NeMo-Run's version."""
        return nemo.require()

    def submit(self, plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
        """Submit the script that lies in the job's directory, through NeMo-Run.

        Raises:
            ClusterError: NeMo-Run made another script than the plan has, or sbatch refused.
        """
        shell = self.shell(plan.profile)

        def execute(command: str) -> SimpleNamespace:
            made = Path(exp._exp_dir, f"{plan.job_id}_sbatch.sh").read_text()
            if script.with_true_comment(made, plan) != plan.script:
                raise ClusterError("NeMo-Run made another script than the plan shows; nothing was submitted.")
            return SimpleNamespace(stdout=submission.sbatch(shell, plan))

        with _home(workspace, plan) as home, nemo.experiment(plan.run_name, plan.job_id, home) as (run, exp):
            script.add_to(run, exp, plan)
            with nemo.commands_go_to(execute):
                exp.run(detach=True)
            slurm_id = exp.jobs[0].handle.rpartition("/")[2]
        return {"slurm_id": slurm_id, **self.address(plan, environ)}

    def status(self, record: Record) -> Status:
        """Slurm's word and the job's own, in one round trip; UNKNOWN while the cluster cannot be reached."""
        slurm_id = str(record.handle["slurm_id"])
        shell = _shell(record.handle)
        known = silent.now(shell)
        query = submission.what_is_left(record.job_dir)  # first: what a `resume` brings meanwhile is another's
        query += slurm_query.query(slurm_id, record.job_dir, known) + state.query_own(record.job_dir, record.run_dir)
        try:
            out = shell.run(query).out
        except ClusterError as error:
            return Status("UNKNOWN", error=error.message)
        answer = slurm_query.parse(out, _called(record))
        silent.note(shell, slurm_query.silence(out), known)
        status = state.judge(answer, state.read_own(out))
        for_good = status.state in contract.ENDED_FOR_GOOD and not status.stuck
        tidy = submission.tidy(record.job_dir, out, for_good)
        if tidy and status.over:  # no agent was there to do it
            with contextlib.suppress(ClusterError):  # the next question does it
                shell.run(tidy)
        return status

    def cancel(self, record: Record, now: bool = False) -> str | None:
        """End the job: at once with `now`, else the ranks may save for `stop_grace` seconds, as everywhere.

        Raises:
            JobError: Slurm refuses, or does not know the job.
            ClusterError: the cluster cannot be reached.
        """
        return cancelling.cancel(_shell(record.handle), record, now)

    def inside(self, record: Record, wanted: Wanted) -> Inside:
        """In a step of its allocation; with pyxis in a further container of its image."""
        found = self.place_of(record).read(f"{record.job_dir}/{contract.SCRIPT}")
        script_text = found[0].decode("utf-8", "replace") if found else ""
        return inside.of(_shell(record.handle), record, wanted, script_text)

    def can_follow(self, address: Mapping[str, Any], record: Record) -> bool:
        """Whether a job with that address would be held by the Slurm that has the record's job."""
        return all(address.get(key) == record.handle.get(key) for key in ("tunnel", "host", "slurm_conf"))

    def let_go(self, record: Record) -> None:
        """Release a job that was submitted held.

        Raises:
            ClusterError: Slurm refuses, or does not answer.
        """
        held.let_go(_shell(record.handle), record)

    def again(self, record: Record) -> dict[str, Any]:
        """With the last Slurm id that it had, once Slurm is done with it: Slurm counts upwards."""
        shell = _shell(record.handle)
        submission.wait_until_left(shell, record.job_id, record.job_dir, Task.of(record.handle))
        known = submission.ids(shell, record.job_dir)
        last = max(known, default=0)
        rest = {key: value for key, value in record.handle.items() if key not in ("slurm_id", _ARRAY, _TOGETHER)}
        former = str(record.handle.get("slurm_id") or 0).partition("_")[0]
        return {**rest, _AFTER: max(last, int(former))}

    def resume(self, record: Record, secrets: bytes | None) -> dict[str, Any]:
        """Submit the job's script again, as the next one of its chain.

        Raises:
            ClusterError: sbatch refused.
        """
        shell, after = _shell(record.handle), record.handle[_AFTER]
        return _handle(record, submission.again(shell, record.job_id, record.job_dir, after, secrets))


def _called(record: Record) -> Job:
    task = Task.of(record.handle)
    return Job(record.job_id, record.job_dir, array=task.directory if task else "")


def _handle(record: Record, slurm_id: str) -> dict[str, Any]:
    return {**{key: value for key, value in record.handle.items() if key != _AFTER}, "slurm_id": slurm_id}


def _shell(values: dict[str, Any]) -> Shell:
    for key in ("slurm_conf", "host", "user", "identity"):
        if not isinstance(values.get(key) or "", str):  # of a record that somebody has edited
            raise ProfileError(f"{key} = {values[key]!r} is no string.")
    if values.get("tunnel") != "ssh":
        return LocalShell(values.get("slurm_conf"))
    if not values.get("host"):
        raise ProfileError('host is missing: tunnel = "ssh" needs it.', "an address, or an alias of ~/.ssh/config")
    for key in ("host", "user"):
        value = values.get(key) or ""
        if value.startswith("-") or not value.isprintable() or " " in value:  # ssh would take it for an option
            raise ProfileError(f"{key} = {value!r} is no name that ssh could use.")
    return SshShell(values["host"], values.get("user"), values.get("identity"))


@contextlib.contextmanager
def _home(workspace: Workspace, plan: Plan) -> Iterator[Path]:
    """Folder of NeMo-Run's experiments, which it puts unquoted into a shell's `mkdir -p` (0.11.1); not read again."""
    home = workspace.nemo_run_home / plan.profile_name
    if SAFE_PATH.fullmatch(str(home)):
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="launch-nemo-run-") as folder:
        yield Path(folder)


EXECUTOR = Slurm()
HOLDING = EXECUTOR
