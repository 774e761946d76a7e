"""A command where a job runs: in its directory, with the environment of one of its ranks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs.records import Record
from automodel_launch.remote.shell import Shell

# What makes a process a rank of this training; a command that took these for its own would disturb the others.
_OF_A_RANK = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK"),
    *("ROLE_NAME", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", contract.PHASE_VAR, contract.AGENT_DIR_VAR),
)


@dataclass(frozen=True)
class Inside:
    """`script` is for bash on the machine of `shell`; `note` tells what a person should know of where it runs.

    `terminal`: the script may be given the terminal of this process.
    """

    shell: Shell
    script: str
    terminal: bool = False
    note: str | None = None


@dataclass(frozen=True)
class Wanted:
    """`node` is a node's record (nodes/N.json); `words` the command; `terminal`: somebody sits before one."""

    node: dict[str, Any]
    words: tuple[str, ...]
    terminal: bool = False


def lines(record: Record, wanted: Wanted, folders: Sequence[str]) -> str:
    """Bash that runs the command: the environment is that of the node's first rank where it can be read, else what the
    job sets for its startup commands; the directory the first one of `folders` that is there."""
    ranks = wanted.node.get("ranks")
    pids = [pid for pid in ranks.values() if isinstance(pid, int)] if isinstance(ranks, dict) else []
    places = " || ".join(f"cd {shlex.quote(folder)} 2>/dev/null" for folder in folders)
    own = {
        contract.JOB_ID_VAR: record.job_id,
        contract.JOB_DIR_VAR: record.job_dir,
        contract.RUN_NAME_VAR: record.run_name,
        contract.RUN_DIR_VAR: record.run_dir,
    }
    return f"""\
export {" ".join(f"{name}={shlex.quote(value)}" for name, value in own.items())}
taken=/proc/{pids[0] if pids else 0}/environ
if [ -r "$taken" ]; then
  while IFS= read -r -d '' pair; do export "$pair"; done 2>/dev/null < "$taken"
  unset {" ".join(_OF_A_RANK)} ${{!TORCHELASTIC_@}}
fi
{places} || :
exec {shlex.join(wanted.words)}
"""
