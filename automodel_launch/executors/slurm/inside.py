"""A command in a step of a Slurm job's own allocation, beside the training."""

from __future__ import annotations

import re
import shlex

from automodel_launch.executors.inside import Inside, Wanted, lines
from automodel_launch.executors.sbatch_validation import NEMO_RUN
from automodel_launch.jobs.records import Record
from automodel_launch.remote import slurm_query
from automodel_launch.remote.shell import LocalShell, Shell
from automodel_launch.remote.slurm_environment import PLAIN

_WORD = r"""(?:"[^"]*"|'[^']*'|[^\s"'])+"""
_SWITCH = rf"--(?:no-)?container-(?!workdir|image|mounts)[\w-]+(?:={_WORD})?"
# srun's own words for the id of an attempt that is over, while the next one comes, are "Slurm job 4 has expired".
_OVER = """
if found=$(squeue -h -j "$id" -o %T 2>&1); then
  case "$found" in *RUNNING* | *COMPLETING* | *SUSPENDED*) over= ;; *) over=1 ;; esac
else
  case "$found" in *"Invalid job id"*) over=1 ;; *) over= ;; esac
fi
if [ -n "$over" ]; then
  echo "error: the attempt that ran there (Slurm job $id) is over, and no later one has begun so far." >&2
  echo "hint: once it has: python launch.py status" {job_id} >&2
  exit 4
fi
"""
_PYXIS = re.compile(rf" (--container-(?:image|mounts)[ =]{_WORD}|{_SWITCH})")


def of(shell: Shell, record: Record, wanted: Wanted, script: str) -> Inside:
    """srun --overlap on the node; with pyxis in a further container of the job's image, from the flags of `script`.

    All containers of a node share its processes, so that the ranks are seen from there, too.
    """
    flags = " ".join(match.group(1) for match in _PYXIS.finditer(script))
    terminal = wanted.terminal and isinstance(shell, LocalShell)
    options = "--overlap --nodes=1 --ntasks=1 --mpi=none --cpu-bind=none --quiet --export=ALL"
    options += f" --nodelist={shlex.quote(str(wanted.node.get('host')))}" + (" --pty" if terminal else "")
    folders = [f"{NEMO_RUN}/code", f"{record.job_dir}/code"] if flags else [f"{record.job_dir}/code"]
    text = f"{PLAIN}{slurm_query.current(str(record.handle['slurm_id']), record.job_dir)}"
    text += _OVER.replace("{job_id}", shlex.quote(record.job_id))
    text += f'exec srun --jobid="$id" {options} {flags} bash -c {shlex.quote(lines(record, wanted, folders))}\n'
    note = "in a further container of the job's image, beside it" if flags else None
    if not flags and re.search(r"\b(apptainer|singularity) exec ", script):
        note = "on the node itself, outside of the job's container"
    return Inside(shell, text, terminal, note)
