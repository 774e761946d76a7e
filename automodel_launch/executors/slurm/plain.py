"""A batch script of one page: torchrun and nothing else, for who has to read it, or has no use for a node agent."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.executors import exported
from automodel_launch.executors.containers import container
from automodel_launch.executors.slurm.exported import directives, locate

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

_TORCHRUN = ".".join(("torch", "distributed", "run"))  # the program need not be on PATH
_LEFT_OUT = """\
# Left out, of what the launcher's own script does: further attempts after failures and time limits, the watch over
# hangs, nodes that failed, a log for each rank and the first error of all, metrics.jsonl, the check that the data are
# those that the run began with, values of secrets kept out of logs, and the lock: never start two of these for one run
# at once.
"""


def text(plan: Plan, files: str) -> str:
    """The script; `files` is the name of the folder beside it that holds the config and the code."""
    run, grace = shlex.quote(plan.run_name), max(30, int(plan.profile.stop_grace))
    secrets = plan.profile.secrets
    variables = f"# Variables, of the shell that submits it: {' '.join(secrets)}\n" if secrets else ""
    return f"""\
#!/bin/bash
# {plan.run_name}: {plan.recipe.name} with the config {plan.config_name}, by torchrun, from its last checkpoint on.
#     sbatch {files.rpartition(".")[0]}.sh        ({files}/ lies beside it; needs: {exported.needs(plan)})
{variables}{_LEFT_OUT}{_directives(plan)}#SBATCH --no-requeue
#SBATCH --signal=TERM@{grace + 30}
#SBATCH --output=%x-%j.out

{locate(f"{files}/{contract.CONFIG}")}export here files="$here/{files}" run="$here/runs/"{run}
export python={shlex.quote(plan.agent["python"])}
mkdir -p "$run" || exit 1
sed -e "s|{exported.ROOT}/{plan.run_name}|$run|g" -e "s|{exported.ROOT.rpartition("/")[0]}|$here|g" \\
  "$files/{contract.CONFIG}" > "$run/{contract.CONFIG}" || exit 1

# the first node is where all ranks meet; each job has a port of its own
export head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export port=$((20000 + SLURM_JOB_ID % 10000))
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={grace}  # between SIGTERM, at which ranks save, and SIGKILL
{_exports(plan)}
read -r -d '' task <<'TASK'
{_lines(plan)}cd "$files/code" || exit 1
trap : TERM  # of Slurm, before the time limit: torchrun has it, too, and this shell waits for its exit code
{_start(plan)}
code=$?
[ "$code" = 0 ] || (set -C; echo "$code" > "$run/.code-$SLURM_JOB_ID") 2> /dev/null
exit "$code"
TASK

srun {" ".join(_srun(plan))} {_wrapped(plan)} "$task"
code=$?  # of srun the highest, that of a node that was ended because of the first
[ ! -s "$run/.code-$SLURM_JOB_ID" ] || code=$(cat "$run/.code-$SLURM_JOB_ID")
rm -f "$run/.code-$SLURM_JOB_ID"
exit "$code"
"""


def _directives(plan: Plan) -> str:
    """The job's own, without a signal in its agents' form. Spare nodes have a use where there are agents only."""
    own = ("signal", "requeue", "no-requeue", "open-mode", *(["nodes", "no-kill"] if plan.profile.spares else []))
    return directives(plan, without=own) + (f"#SBATCH --nodes={plan.nodes}\n" if plan.profile.spares else "")


def _exports(plan: Plan) -> str:
    """The job's variables, but for those by which the node agent talks to the launcher."""
    own = {contract.JOB_ID_VAR, contract.JOB_DIR_VAR, contract.RUN_DIR_VAR, contract.HIDDEN_VAR}
    values = {name: value for name, value in plan.agent["env"].items() if name not in own}
    lines = [f'export {contract.RUN_DIR_VAR}="$run"']
    for name, value in values.items():
        if exported.TRACKER in value:  # one run of the tracker for each place
            value = value.replace(exported.TRACKER, "")
            lines.append(f'export {name}={shlex.quote(value)}$(printf %s "$here" | cksum | cut -d" " -f1)')
        else:  # a tracker's directory lies in the run's
            parts = value.split(f"{exported.ROOT}/{plan.run_name}")
            lines.append(f"export {name}=" + '"$run"'.join(shlex.quote(part) if part else "" for part in parts))
    return "\n".join(lines) + "\n"


def _lines(plan: Plan) -> str:
    """Setup lines and startup commands, once a node; one that fails ends the job."""
    lines = [*plan.agent["setup_lines"], *plan.agent["startup_commands"]]
    return "".join(f"{line.rstrip()}\n" for line in ("set -e", *lines, "set +e")) if lines else ""


def _start(plan: Plan) -> str:
    script, config = shlex.quote(plan.agent["script"]), f'--config "$run/{contract.CONFIG}"'
    if plan.agent["launch"] == "python":
        return f"""\
export RANK=$SLURM_NODEID WORLD_SIZE=$SLURM_NNODES LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=$head MASTER_PORT=$port
"$python" -u {script} {config}"""
    return f"""\
"$python" -m {_TORCHRUN} --nnodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" \\
  --nproc-per-node {plan.processes_per_node} --master-addr "$head" --master-port "$port" {script} {config}"""


def _srun(plan: Plan) -> list[str]:
    """One task a node; where one ends with an error, so do the others, and so does the job."""
    own = [f"--nodes={plan.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--wait=60", "--export=ALL"]
    words = plan.profile.srun_args
    own += [] if any(word.startswith(("--cpu-bind", "--cpu_bind")) for word in words) else ["--cpu-bind=none"]
    own += [] if any(word.startswith("--mpi") for word in words) else ["--mpi=none"]
    found = container.of(plan)
    if found and found.runtime == container.PYXIS:
        mounts = ",".join([*(mount.word for mount in found.mounts if mount.source != exported.ROOT), '"$here:$here"'])
        own += [f"--container-image={found.image_word}", f"--container-mounts={mounts}"]
    return [*own, *container.srun_flags(found, plan.profile), *(shlex.quote(word) for word in words)]


def _wrapped(plan: Plan) -> str:
    """`bash -c`, in apptainer's container where there is one."""
    found = container.of(plan)
    if found is None or found.runtime == container.PYXIS:
        return "bash -c"
    binds = ",".join([*(mount.word for mount in found.mounts if mount.source != exported.ROOT), '"$here"'])
    return f"{found.runtime} exec --nv --bind {binds} {found.image_word} bash -c"
