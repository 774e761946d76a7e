"""What Slurm, srun and its plugins have written of a job's start, before there was an agent to write anything.

The step's log has what pyxis, enroot and slurmstepd say on the nodes, of all nodes mixed; the batch script's has what
bash and srun itself say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from automodel_launch import contract

STEP, BATCH = "log-*_{id}_*.out", "sbatch_*_{id}.out"  # as NeMo-Run names them
_STEP, _BATCH = re.compile(r"log-.*_(\d+)_(\d+)\.out"), re.compile(r"sbatch_.*\.\d+_(\d+)(?:_\d+)?\.out")
MOST = 100  # different lines that are sent
# Who says why a container is not there; `srun --label` puts a number before it.
SPEAKS = (
    r"^([0-9]+: )?(((slurmstepd|srun)[^ ]* )?error: (pyxis|enroot|spank: required plugin|execve\(\)|couldn.t chdir to )"
    r"|FATAL: |sh: .*node_agent.sh)"
)
# What tells nothing; `hostname` is called by NeMo-Run's script, which goes on without it.
NOISE = (
    r"pyxis: printing .* log file:|pyxis: *$|\[INFO\]|Parallel unsquashfs|[0-9] inodes|created [0-9]+ [a-z]+$"
    r"|execve\(\): hostname|received SIGTERM"
)


def names(present: Iterable[str]) -> list[str]:
    """Of the files in logs/ the step's log and the batch script's, those of the last Slurm job and its last start."""
    files = list(present)
    found = (_last(pattern, files) for pattern in (_STEP, _BATCH))
    return [f"{contract.LOGS}/{name}" for name in found if name]


def _last(pattern: re.Pattern[str], files: list[str]) -> str | None:
    numbered = [
        ([int(number) for number in match.groups()], name) for name in files if (match := pattern.fullmatch(name))
    ]
    return max(numbered)[1] if numbered else None


def question(job_dir: str) -> str:
    """Bash that prints, for Slurm job `$id`, `own step_log NAME`, and `own step| NODES LINE` for each different line.

    Of those that speak of a container. NODES is the number of nodes that say it, LINE how the first one does. Two lines
    that differ in nothing but paths are one: each node has some of its own, and a thousand may say one thing.
    """
    folder = shlex.quote(f"{job_dir}/{contract.LOGS}")
    awk = f"""
/{_literal(SPEAKS)}/ && !/{_literal(NOISE)}/ {{
  node = "-"; key = $0
  if (match(key, /slurmstepd-[^: ]*: /)) {{ node = substr(key, RSTART, RLENGTH); sub(/slurmstepd-[^: ]*: /, "", key) }}
  gsub(/\\/[^ :]*/, "/", key); sub(/child [0-9]+/, "child", key)
  if (!(key in line)) {{ if (n == {MOST}) next; line[key] = substr($0, 1, 500); order[n++] = key }}
  if (!((key, node) in seen)) {{ seen[key, node]; nodes[key]++ }}
}}
END {{ for (i = 0; i < n; i++) print "own step| " nodes[order[i]] " " line[order[i]] }}"""
    # srun names the log by the number that a task of an array has besides ARRAY_TASK
    return f"""case $id in *_*) number='*' ;; *) number=$id ;; esac
for log in $(cd {folder} 2>/dev/null && ls -t {STEP.format(id="${number}")} 2>/dev/null); do
  echo "own step_log $log"
  LC_ALL=C awk {shlex.quote(awk)} {folder}/"$log" 2>/dev/null
  break # the last start's
done"""


def _literal(pattern: str) -> str:
    return pattern.replace("/", r"\/")
