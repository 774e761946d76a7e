"""The batch script: NeMo-Run's text for a plan, and the commands that hand it to Slurm. Pure functions of a plan."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError
from automodel_launch.executors import agent_python, nemo, sbatch_validation, standing
from automodel_launch.executors.containers import container
from automodel_launch.executors.slurm import chains, nemo_text, spares, venv_archive

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile

SBATCH_KEYS = (
    *("account", "time", "nodes", "gpus_per_node", "mem", "exclusive", "qos", "constraint", "exclude", "gres"),
    *("signal", "segment", "network"),
)
MORE_SBATCH_KEYS = ("reservation", "nodelist", "dependency")  # sbatch has them, SlurmExecutor has no field for them
_made: dict[str, str] = {}  # what NeMo-Run was given -> its text, both with these in place of the job's:
_DIRECTORY, _ID, _MOST_KEPT = "\0directory\0", "\0id\0", 64
_RUN_WITH = re.compile(r"^# Run with: .*$", re.MULTILINE)


def text(plan: Plan) -> str:
    """The complete text. Nothing is asked of a cluster.

    Where NeMo-Run has to write it, plans that give it the same but for the job's id and directory (the points of a
    sweep) have one text but for these: it is made once.

    Raises:
        ProfileError: keys of the profile contradict each other.
    """
    if nemo_text.stands_for_it():
        logs = f"{plan.job_dir}/{contract.LOGS}"
        return nemo_text.text(_values(plan), _words(plan), plan.job_dir, logs, sbatch_command(plan))
    key = _without_id(json.dumps([_values(plan), _words(plan), sbatch_command(plan)]), plan)
    if key not in _made:
        if len(_made) >= _MOST_KEPT:
            _made.clear()
        _made[key] = _without_id(by_nemo_run(plan), plan)
    return _made[key].replace(_DIRECTORY, plan.job_dir).replace(_ID, plan.job_id)


def _without_id(text: str, plan: Plan) -> str:
    return text.replace(plan.job_dir, _DIRECTORY).replace(plan.job_id, _ID)


def by_nemo_run(plan: Plan) -> str:
    """The same, made by NeMo-Run now, whatever it has made before."""
    with tempfile.TemporaryDirectory() as folder, nemo.experiment("plan", plan.job_id, Path(folder)) as (run, exp):
        add_to(run, exp, plan)
        with nemo.commands_go_to(_refuse):
            exp.dryrun(log=False, delete_exp_dir=False)
        return with_true_comment(str(exp.jobs[0]._dryrun_info.request.materialize()), plan)


def add_to(run: Any, exp: Any, plan: Plan) -> None:
    """Add the plan's task to an experiment of NeMo-Run's."""
    exp.add(_task(run, plan), executor=_executor(run, plan), name=plan.job_id)


def sbatch_command(plan: Plan) -> str:
    """Whether Slurm may requeue the job stands in the script, so sbatch by hand gives the same job."""
    held = "--hold " if plan.after else ""  # until the runs that it waits for have completed
    return f"sbatch --parsable {held}{plan.job_dir}/{contract.SCRIPT}"


def with_true_comment(made: str, plan: Plan) -> str:
    """NeMo-Run's head says `Run with: sbatch --requeue --parsable` whatever is submitted (0.11.1)."""
    return _RUN_WITH.sub(lambda match: f"# Run with: {sbatch_command(plan)}", made, count=1)


def _task(run: Any, plan: Plan) -> Any:
    """What srun starts once a node. NeMo-Run joins the words unquoted; `job_root` takes safe paths only."""
    return run.Script(path="recipes/node_agent.sh", **_words(plan))


def _words(plan: Plan) -> dict[str, Any]:
    start = container.agent_command(container.of(plan), plan.profile, agent_python.SHELL, plan.job_dir)
    return {"args": ["run", f"{plan.job_dir}/{contract.AGENT}"], "entrypoint": start}


def _executor(run: Any, plan: Plan) -> Any:
    from nemo_run.core.execution.slurm import SlurmJobDetails

    from automodel_launch.executors.nemo_tunnel import Tunnel

    values = _values(plan)
    return run.SlurmExecutor(
        **values,
        job_details=SlurmJobDetails(job_name=plan.job_id, folder=f"{plan.job_dir}/{contract.LOGS}"),
        tunnel=Tunnel(job_dir=plan.job_root),
        packager=run.Packager(),  # the job's directory is complete before NeMo-Run is called
    )


def _values(plan: Plan) -> dict[str, Any]:
    """SlurmExecutor's arguments, as far as they are plain data."""
    profile = plan.profile
    values = {key: getattr(profile, key) for key in SBATCH_KEYS}
    values["nodes"] = spares.allocated(profile)
    values["signal"] = sbatch_validation.warning(profile)
    values["exclusive"] = profile.exclusive or None  # NeMo-Run writes `--exclusive=False` (0.11.1), sbatch refuses it
    found = container.of(plan)
    pyxis = found if found and found.runtime == container.PYXIS else None
    return dict(
        **values,
        partition=partition(plan),
        ntasks_per_node=1,  # one agent a node
        cpus_per_task=profile.cpus_per_task and profile.cpus_per_task * plan.processes_per_node,
        job_name_prefix="job.",  # unused where job_details names the job; without it an account would be demanded
        comment=profile.comment and sbatch_validation.for_sbatch(profile.comment),
        additional_parameters=_more(profile, plan.job_dir),
        srun_args=_srun_args(profile, plan),
        # NeMo-Run's `noquote` is plain str (0.11.1), so it quotes nothing of srun's line
        container_image=pyxis and pyxis.image_word,
        container_mounts=[mount.word for mount in pyxis.mounts] if pyxis else [],
        setup_lines=_finish(plan),
        poll_estimated_start_time=False,
    )


def partition(plan: Plan) -> str | None:
    """The partition of this launch: --run and --batch may have one each."""
    profile = plan.profile
    return {"run": profile.run_partition, "batch": profile.batch_partition}[plan.mode] or profile.partition


def _more(profile: Profile, job_dir: str) -> dict[str, Any]:
    """sbatch's other options. `export` and `propagate`: nothing of the submitter's environment reaches the job, nor do
    the shell's limits. `chdir`: accounting knows the job by it, wherever sbatch was called.
    """
    own = {"export": "NONE", "propagate": "NONE", "chdir": job_dir, **chains.requeue(profile), **spares.sbatch(profile)}
    given = {
        key: sbatch_validation.for_sbatch(value) if isinstance(value, str) else value
        for key, value in profile.additional_parameters.items()
    }
    more = {**own, **{key: getattr(profile, key) for key in MORE_SBATCH_KEYS}, **given}
    # NeMo-Run writes None and False out (0.11.1), which sbatch refuses or takes for something else
    return {key: value for key, value in more.items() if value is not None and value is not False}


def _srun_args(profile: Profile, plan: Plan) -> list[str]:
    """`--export=ALL` undoes sbatch's NONE for the step.

    Without --cpus-per-task a step has all that the job has of a node; some clusters would bind its one task to one CPU.
    """
    own = ["--export=ALL"]
    if not any(word.startswith(("--cpu-bind", "--cpu_bind")) for word in profile.srun_args):
        own.append("--cpu-bind=none")
    if not any(word.startswith("--mpi") for word in profile.srun_args):
        own.append("--mpi=none")  # torchrun needs no MPI, and a cluster's default of pmix can hang a start
    own += [*container.srun_flags(container.of(plan), profile), *spares.srun(profile)]
    return [*own, *(shlex.quote(word) for word in profile.srun_args)]


def _finish(plan: Plan) -> str:
    """At the batch script's end the record of the job is completed, and its true code becomes the script's.

    Before its step the agent's `begin` says which attempt this is, and queues the next one of a chain.
    """
    program = f"{agent_python.SHELL} {plan.job_dir}/{contract.NODE_AGENT_SH}"
    return (
        f"{standing.guard(plan.job_dir)}"
        f"trap 'code=$?; {program} finish {plan.job_dir} --code $code; exit $?' EXIT\n"
        f'eval "$({program} begin {plan.job_dir})"'
        f"{venv_archive.broadcast(plan.profile)}"
    )


def _refuse(command: str) -> None:
    raise ClusterError(f"a plan asks nothing of a cluster, and NeMo-Run wanted to run: {command}")
