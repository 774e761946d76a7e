"""A script that is run in a copy of its job's directory: all its paths are those of the original.

The agent looks for itself (recipes/node_agent_lib/standing.py), but such a script starts the original's.
"""

from __future__ import annotations

import shlex

from automodel_launch import contract


def guard(job_dir: str) -> str:
    """Lines of bash that end a script whose own directory is another job directory than this one.

    Slurm runs a copy in its spool directory, which holds no agent.json; there the agent's `begin` asks Slurm.
    """
    job = shlex.quote(job_dir)
    return f"""\
own=$(dirname "$0")
if [ -e "$own/{contract.AGENT}" ] && ! [ "$own" -ef {job} ]; then
  echo "$own is a copy of "{job}", which this script would run and overwrite; launch a job of its own instead" >&2
  exit {contract.CANNOT_BE_USED}
fi
"""
