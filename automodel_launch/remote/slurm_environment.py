"""What of a shell's environment Slurm's commands get: what says where the cluster is, and nothing else of Slurm's.

Inside an allocation (salloc, `srun --pty`, a notebook) SLURM_* describe that one. sbatch hands them on to the new job
even with `--export=NONE`, and srun in there takes them for options: it would run on the shell's CPUs only, or not at
all. And a person's own defaults (SQUEUE_STATES, SCANCEL_INTERACTIVE, SLURM_CLUSTERS) would change what is asked.
"""

from __future__ import annotations

KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")  # which cluster, and how it knows this user
_OTHERS = ("SQUEUE", "SCANCEL", "SCONTROL", "SINFO", "SACCT", "SACCTMGR", "SRUN")

_REST = f"for name in ${{!SLURM_@}}; do case $name in {'|'.join(KEPT)}) ;; *) unset $name ;; esac; done"

CLEAN = f"unset ${{!SBATCH_@}}; {_REST}"
"""Commands of bash, for what sbatch and srun get. They start no process: a look at a job is made again and again."""

PLAIN = f"unset ${{!SBATCH_@}} {' '.join(f'${{!{name}_@}}' for name in _OTHERS)}; {_REST}\n"
"""A line of bash, before commands that ask Slurm or end a job."""
