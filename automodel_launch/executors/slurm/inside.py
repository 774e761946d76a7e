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
    text += f'exec srun --jobid="$id" {options} {flags} bash -c {shlex.quote(lines(record, wanted, folders))}\n'
    note = "in a further container of the job's image, beside it" if flags else None
    if not flags and re.search(r"\b(apptainer|singularity) exec ", script):
        note = "on the node itself, outside of the job's container"
    return Inside(shell, text, terminal, note)
