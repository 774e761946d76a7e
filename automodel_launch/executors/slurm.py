"""A Slurm cluster, through NeMo-Run's SlurmExecutor: from a login node, or over SSH.

NeMo-Run writes the batch script and submits it; what the script starts, once a node, is the node agent. Its tunnels
are not used: LocalTunnel copies nothing unless its folders have certain names, and SSHTunnel (paramiko) takes unknown
and changed host keys in silence (0.11.1). A tunnel of our own hands NeMo-Run's sbatch call to our shell instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from automodel_launch.errors import ClusterError, JobError, ProfileError, SubmissionUnknown
from automodel_launch.executors import agent, nemo, sbatch_validation
from automodel_launch.executors.containers import container as containers
from automodel_launch.executors.containers.mounts import Mount
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH
from automodel_launch.jobs.records import Record, Status
from automodel_launch.plan import secrets
from automodel_launch.remote import slurm
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell, Shell, SshShell

if TYPE_CHECKING:
    from automodel_launch.doctor.diagnosis import Line
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

AGENT_PYTHON = "python3"  # runs the node agent; any Python from 3.8 on, with nothing installed
PORTS = range(20000, 30000)  # below Linux's ephemeral ports, above most services
_SBATCH = (
    *("account", "time", "nodes", "gpus_per_node", "mem", "exclusive", "qos", "constraint", "exclude", "gres"),
    *("signal", "segment", "network"),
)
_MORE_SBATCH = ("reservation", "nodelist", "dependency")  # sbatch has them, SlurmExecutor has no field for them
SBATCH_S = 120.0  # a busy slurmctld makes sbatch wait
LOOKUPS, LOOKUP_S = 20, 2.0  # of a submission whose answer was lost
_SECRETS_LEFT = "secrets-left"
# Over for good. A job that Slurm may still requeue (PREEMPTED, NODE_FAIL) needs its secrets again.
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY"}
# By name as well: elsewhere the id may be somebody else's job. The next attempt first: it must not begin meanwhile.
_NEXT = '[ "$next" = - ] || scancel --name="$name" "$next" 2>/dev/null\n'
_KILL = _NEXT + 'scancel --signal=KILL --full --name="$name" "$id" && rm -f "$left"\n'
_ASK = (
    _NEXT
    + """if squeue -h -s -j "$id" -o %i 2>/dev/null | grep -qE '\\.[0-9]+$'; then
  scancel --signal=TERM --name="$name" "$id"
else
  scancel --name="$name" "$id" && rm -f "$left"
fi
"""
)
# Held until JOB_DIR/chain names it, so that it cannot begin before that.
_AGAIN = """{ grep -q '"chain": {' agent.json && how=--no-requeue || how=--requeue; } &&
new=$(sbatch $how --hold --parsable ./script) && new=${new%%;*} && {
  if read -r now _ number < chain; then echo "$now $new $number" > chain.new && mv chain.new chain; fi
  scontrol release "$new" && echo "$new"
}
"""
_LOST_ANSWER = ("Socket timed out", "Unable to contact slurm controller", "Zero Bytes were transmitted")


class Slurm:
    """Executor `slurm`."""

    here = False
    many_nodes = True
    interrupt_stops = False
    poll_s = 2.0

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """`remote_job_dir`; from a login node runs/ in the checkout where none is given.

        Raises:
            ProfileError: it is not absolute, or has characters that a batch script cannot carry.
        """
        written = profile.remote_job_dir
        if written is None and profile.tunnel == "ssh":
            raise ProfileError("remote_job_dir is missing: over SSH it names the job root on the cluster.")
        root = str(workspace.runs) if written is None else written
        if profile.tunnel != "ssh":
            root = str(Path(root).expanduser().absolute())
        if not SAFE_PATH.fullmatch(root):
            raise ProfileError(
                f"remote_job_dir = {root!r}: a batch script cannot carry this path.",
                "an absolute path of letters, digits and _ . / @ + , = -",
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

    def place(self, profile: Profile) -> FileSystem:
        """This machine's file systems on a login node, else those behind the connection."""
        return RemoteFileSystem(_shell(profile.model_dump())) if profile.tunnel == "ssh" else LOCAL

    def place_of(self, record: Record) -> FileSystem:
        """The same, for a job that was submitted."""
        return RemoteFileSystem(_shell(record.handle)) if record.handle.get("tunnel") == "ssh" else LOCAL

    def processes(self, profile: Profile) -> int:
        """`nproc_per_node`, default `gpus_per_node`.

        Raises:
            ProfileError: neither is a number: this machine cannot count the cluster's GPUs.
        """
        wanted = profile.gpus_per_node if profile.nproc_per_node in (None, "auto") else profile.nproc_per_node
        if not isinstance(wanted, int) or wanted < 1:
            raise ProfileError(
                "nproc_per_node: the number of training processes a node is not given.", "gpus_per_node = 8"
            )
        return wanted

    def image(self, profile: Profile) -> str | None:
        """`container_image`, by default the recipe's own image; "none" is the bare node."""
        return containers.image_text(profile)

    def mounts(self, plan: Plan) -> list[Mount]:
        """The profile's, the job root, and the job's directory at /nemo_run."""
        container = containers.of(plan)
        return [*container.mounts, Mount(plan.job_dir, NEMO_RUN)] if container else []

    def agent(self, plan: Plan) -> dict[str, Any]:
        """The agents meet on a port of this job's own: two jobs may have one head node.

        Raises:
            ProfileError: the profile has what a batch script cannot carry.
        """
        sbatch_validation.check(plan.profile, plan.profile_sources)
        containers.of(plan)
        number = int(hashlib.sha256(plan.job_dir.encode()).hexdigest(), 16)
        port = plan.profile.rdzv_port or PORTS[number % len(PORTS)]
        python = plan.profile.python or "python3"
        chain = _chain(plan.profile)
        return agent.spec(plan, python=python, port=port, stop_with_parent=False, inherits=False, chain=chain)

    def script(self, plan: Plan) -> str:
        """The complete sbatch text, as NeMo-Run makes it; nothing is asked of a cluster."""
        with tempfile.TemporaryDirectory() as folder, nemo.experiment("plan", plan.job_id, Path(folder)) as (run, exp):
            exp.add(_task(run, plan), executor=_executor(run, plan), name=plan.job_id)
            with nemo.commands_go_to(_refuse):
                exp.dryrun(log=False, delete_exp_dir=False)
            return str(exp.jobs[0]._dryrun_info.request.materialize())

    def questions(self, plan: Plan) -> Iterator[Finding]:
        """What Slurm says to the script, and what it will only say when the job waits."""
        from automodel_launch.checks import cluster

        return cluster.findings(
            plan, _shell(plan.profile.model_dump()), _partition(plan), lambda said: _fix(said, plan)
        )

    def examine(self, profile: Profile, workspace: Workspace) -> Iterator[Line]:
        """Everything that can be asked without a job."""
        from automodel_launch.doctor import slurm as doctor_slurm

        root, shell = self.job_root(profile, workspace), _shell(profile.model_dump())
        return doctor_slurm.lines(profile, root, shell, AGENT_PYTHON)

    def submit(self, plan: Plan, workspace: Workspace) -> dict[str, Any]:
        """Submit the script that lies in the job's directory, through NeMo-Run.

        Raises:
            ClusterError: NeMo-Run made another script than the plan has, or sbatch refused.
        """
        shell = _shell(plan.profile.model_dump())

        def execute(command: str) -> SimpleNamespace:
            made = Path(exp._exp_dir, f"{plan.job_id}_sbatch.sh").read_text()
            if made != plan.script:
                raise ClusterError("NeMo-Run made another script than the plan shows; nothing was submitted.")
            return SimpleNamespace(stdout=_sbatch(shell, plan))

        with _home(workspace, plan) as home, nemo.experiment(plan.run_name, plan.job_id, home) as (run, exp):
            exp.add(_task(run, plan), executor=_executor(run, plan), name=plan.job_id)
            with nemo.commands_go_to(execute):
                exp.run(detach=True)
            slurm_id = exp.jobs[0].handle.rpartition("/")[2]
        keys = ("tunnel", "host", "user", "identity", "stop_grace")
        conf = os.environ.get("SLURM_CONF") if plan.profile.tunnel != "ssh" else None  # which cluster it was
        return {"slurm_id": slurm_id, "slurm_conf": conf, **{key: getattr(plan.profile, key) for key in keys}}

    def status(self, record: Record) -> Status:
        """Slurm's word and the job's own, in one round trip; UNKNOWN while the cluster cannot be reached."""
        slurm_id = str(record.handle["slurm_id"])
        secrets_file = shlex.quote(f"{record.job_dir}/{secrets.FILE}")
        script = slurm.query(slurm_id, record.job_dir) + slurm.query_own(record.job_dir)
        script += f"[ ! -e {secrets_file} ] || echo {_SECRETS_LEFT}\n"
        shell = _shell(record.handle)
        try:
            out = shell.run(script).out
        except ClusterError as error:
            return Status("UNKNOWN", error=error.message)
        status = slurm.judge(slurm.parse(out, record.job_id), slurm.read_own(out))
        if status.state in _ENDED and _SECRETS_LEFT in out.splitlines():  # no agent was there to remove them
            with contextlib.suppress(ClusterError):  # the next question removes them
                shell.run(f"rm -f {secrets_file}")
        return status

    def cancel(self, record: Record, now: bool = False) -> None:
        """End the job: at once with `now`, else the ranks may save for `stop_grace` seconds, as everywhere.

        A plain scancel would give them KillWait, 30 s on most clusters. So the steps get SIGTERM: the agents pass it
        on and keep the time, and the job ends when they do. Where no step runs there is nobody to wait for.

        Raises:
            JobError: Slurm refuses.
        """
        mark = f"echo {'now' if now else 'cancel'} > {shlex.quote(f'{record.job_dir}/stop')}"
        script = slurm.current(str(record.handle["slurm_id"]), record.job_dir) + (_KILL if now else _ASK)
        left = shlex.quote(f"{record.job_dir}/{secrets.FILE}")  # a job that waits has no agent to remove it
        done = _shell(record.handle).run(f"{mark}\nname={record.job_id} left={left}\n{script}")
        if done.code:
            raise JobError(f"{record.job_id}: scancel: {done.err.strip()}")

    def resume(self, record: Record) -> dict[str, Any]:
        """Submit the job's script again, as the next one of its chain.

        Raises:
            ClusterError: sbatch refused.
        """
        shell, job_dir = _shell(record.handle), shlex.quote(record.job_dir)
        done = shell.run(f"unset ${{!SBATCH_@}}; cd {job_dir} && {_AGAIN}", timeout=SBATCH_S)
        slurm_id = done.out.strip()
        if done.code or not slurm_id.isdigit():
            said = " ".join(done.err.split())
            raise ClusterError(f"{shell.place}: sbatch refused {record.job_id}: {said}", _fix(said))
        return {**record.handle, "slurm_id": slurm_id}


def _shell(values: dict[str, Any]) -> Shell:
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


def _task(run: Any, plan: Plan) -> Any:
    """What srun starts once a node. NeMo-Run joins the words unquoted; `job_root` takes safe paths only."""
    start = containers.agent_command(containers.of(plan), plan.profile, AGENT_PYTHON, plan.job_dir)
    return run.Script(path="recipes/node_agent.py", args=["run", f"{plan.job_dir}/agent.json"], entrypoint=start)


def _executor(run: Any, plan: Plan) -> Any:
    from nemo_run.core.execution.slurm import SlurmJobDetails

    from automodel_launch.executors.nemo_tunnel import Tunnel

    profile = plan.profile
    values = {key: getattr(profile, key) for key in _SBATCH}
    values["exclusive"] = profile.exclusive or None  # NeMo-Run writes `--exclusive=False` (0.11.1), sbatch refuses it
    container = containers.of(plan)
    pyxis = container if container and container.runtime == containers.PYXIS else None
    return run.SlurmExecutor(
        **values,
        partition=_partition(plan),
        ntasks_per_node=1,  # one agent a node
        cpus_per_task=(profile.cpus_per_task or 1) * plan.processes_per_node,
        job_name_prefix="job.",  # unused where job_details names the job; without it an account would be demanded
        comment=plan.job_dir,  # finds a submission whose answer was lost
        job_details=SlurmJobDetails(job_name=plan.job_id, folder=f"{plan.job_dir}/logs"),
        additional_parameters=_more(profile),
        srun_args=_srun_args(profile, plan),
        # NeMo-Run's `noquote` is plain str (0.11.1), so it quotes nothing of srun's line
        container_image=pyxis and pyxis.image_word,
        container_mounts=[mount.word for mount in pyxis.mounts] if pyxis else [],
        setup_lines=_finish(plan),
        tunnel=Tunnel(job_dir=plan.job_root),
        packager=run.Packager(),  # the job's directory is complete before NeMo-Run is called
        poll_estimated_start_time=False,
    )


def _partition(plan: Plan) -> str | None:
    profile = plan.profile
    return {"run": profile.run_partition, "batch": profile.batch_partition}[plan.mode] or profile.partition


def _more(profile: Profile) -> dict[str, Any]:
    """sbatch's other options. `export=NONE`: nothing of the submitter's environment reaches the job."""
    more = {"export": "NONE", **{key: getattr(profile, key) for key in _MORE_SBATCH}, **profile.additional_parameters}
    # NeMo-Run writes None and False out (0.11.1), which sbatch refuses or takes for something else
    return {key: value for key, value in more.items() if value is not None and value is not False}


def _srun_args(profile: Profile, plan: Plan) -> list[str]:
    """`--export=ALL` undoes sbatch's NONE for the step; srun does not take cpus-per-task from sbatch since 22.05."""
    cpus = (profile.cpus_per_task or 1) * plan.processes_per_node
    own = [f"--cpus-per-task={cpus}", "--export=ALL"]
    if not any(word.startswith("--mpi") for word in profile.srun_args):
        own.append("--mpi=none")  # torchrun needs no MPI, and a cluster's default of pmix can hang a start
    own += containers.srun_flags(containers.of(plan), profile)
    return [*own, *(shlex.quote(word) for word in profile.srun_args)]


def _finish(plan: Plan) -> str:
    """At the batch script's end the record of the job is completed, and its true code becomes the script's.

    Before its step the agent's `begin` says which attempt this is, and queues the next one of a chain.
    """
    program = f"{AGENT_PYTHON} {plan.job_dir}/code/recipes/node_agent.py"
    return (
        f"trap 'code=$?; {program} finish {plan.job_dir} --code $code; exit $?' EXIT\n"
        f'eval "$({program} begin {plan.job_dir})"'
    )


def _refuse(command: str) -> None:
    raise ClusterError(f"a plan asks nothing of a cluster, and NeMo-Run wanted to run: {command}")


def _sbatch(shell: Shell, plan: Plan) -> str:
    """The Slurm id of the submitted script. A lost answer is looked up by the comment before anything is repeated."""
    script = f"{plan.job_dir}/script"
    try:
        # SBATCH_* variables would win over the script's lines, which the plan shows
        done = shell.run(
            f"unset ${{!SBATCH_@}}; cd {plan.job_dir} && sbatch {_requeue(plan.profile)} --parsable {script}",
            timeout=SBATCH_S,
        )
    except ClusterError as error:  # the connection broke, or sbatch hung: it may have submitted
        return _submitted(shell, plan, error.message)
    slurm_id = done.out.strip().partition(";")[0]
    if done.code == 0 and slurm_id.isdigit():
        return slurm_id
    said = " ".join(done.err.split())
    if done.code == 0 or any(words in said for words in _LOST_ANSWER):
        return _submitted(shell, plan, said)
    raise ClusterError(f"{shell.place}: sbatch refused {plan.job_id}: {said}", _fix(said, plan))


def _chain(profile: Profile) -> dict[str, Any] | None:
    """What the batch script's `begin` and `finish` need to know of further attempts; None: there are none."""
    if profile.until is None and profile.chain is None:
        return None
    exclude = [profile.exclude] if profile.exclude else []
    return {"jobs": profile.chain, "failures": profile.max_failures, "exclude": exclude}


def _requeue(profile: Profile) -> str:
    """A chain has its next job waiting. Slurm's requeue is slower (it holds a job for two minutes) and cannot change
    the nodes to exclude."""
    return "--requeue" if _chain(profile) is None else "--no-requeue"


def _submitted(shell: Shell, plan: Plan, said: str) -> str:
    """The job with our comment, also where it has ended; Slurm may take it in after it has told us of a time-out."""
    answered = 0
    for _ in range(LOOKUPS):
        try:
            listed = shell.run(f"squeue -h -t all --name={plan.job_id} -o '%i|%k'")
        except ClusterError:
            listed = None
        for line in listed.out.splitlines() if listed else ():
            if line.partition("|")[2] == plan.job_dir:
                return line.partition("|")[0]
        answered = answered + 1 if listed and listed.code == 0 else 0
        if answered >= 3:
            raise ClusterError(f"{shell.place}: sbatch did not submit {plan.job_id}: {said}", "launch it again")
        time.sleep(LOOKUP_S)
    raise SubmissionUnknown(
        f"{shell.place}: whether {plan.job_id} was submitted is not known, and Slurm does not answer: {said}",
        f"look with `squeue --name={plan.job_id}` before it is launched again",
    )


def _fix(said: str, plan: Plan | None = None) -> str:
    """The keys that sbatch's words may mean; with a plan, what they are and where that was set."""
    meant = dict.fromkeys(key for word, keys in _MEANT.items() if word in said.lower() for key in keys)
    if not meant:
        return "--dry-run shows the script"
    given = {key: getattr(plan.profile, key) for key in meant} if plan else {}
    shown = [
        f"{key} = {value!r} ({plan.profile_sources.get(key, plan.profile_name)})"
        for key, value in given.items()
        if plan and value is not None
    ]
    if not plan or not shown:
        return f"check {', '.join(meant)} in the profile"
    return f"check {', '.join(shown)}; sinfo on the cluster, or doctor {plan.profile_name}, tell what there is"


# Words of sbatch's refusals (slurm_strerror of 22.05, and sbatch's own), and the keys that can mend them.
_MEANT = {
    "partition": ("partition", "run_partition", "batch_partition"),
    "account": ("account",),
    "qos": ("qos",),
    "time": ("time",),
    "feature": ("constraint",),
    "gres": ("gres",),
    "dependency": ("dependency",),
    "reservation": ("reservation",),
    "signal": ("signal",),
    "node name": ("nodelist", "exclude"),
    "node count": ("nodes",),
    "node configuration": ("nodes", "gpus_per_node", "cpus_per_task", "mem", "constraint", "nodelist", "exclude"),
    "memory": ("mem",),
}


EXECUTOR = Slurm()
