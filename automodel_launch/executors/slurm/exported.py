"""`script`: a batch script that makes a job's directory where it lies, and becomes that job's own script.

Slurm keeps its variables: from these the file of secrets is written anew when it starts the job once more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.executors import exported

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

_DIRECTIVE = re.compile(r"^#SBATCH --([a-z-]+)(?:=.*)?$", re.MULTILINE)
_ELSEWHERE = ("chdir", "output", "error", "export", "job-name")  # paths of the job, and what is said anew


def directives(plan: Plan, without: tuple[str, ...] = ()) -> str:
    """The `#SBATCH` lines of the plan's script that hold no path of the job's."""
    left_out = {*_ELSEWHERE, *without}
    lines = [match[0] for match in _DIRECTIVE.finditer(plan.script) if match[1] not in left_out]
    return "\n".join([f"#SBATCH --job-name={plan.run_name}", *lines]) + "\n"


def locate(file: str) -> str:
    """Bash: `here`, the directory of the script that was handed to sbatch; Slurm runs a copy of it elsewhere."""
    return f"""\
here=$(scontrol -o show job "$SLURM_JOB_ID" | sed -n 's/.* Command=\\([^ ]*\\).*/\\1/p') here=${{here%/*}}
[ -e "$here/{file}" ] || here=$SLURM_SUBMIT_DIR
why="{file} is not beside the script: sbatch DIRECTORY/script, with no space in that path"
[ -e "$here/{file}" ] || {{ echo "$why" >&2; exit 2; }}
"""


def text(plan: Plan) -> str:
    """The script. A Slurm job that starts once more (--requeue) goes on with the directory that it has made."""
    agent = f"{exported.JOB}/{contract.AGENT}"
    names = ",".join(plan.profile.secrets) or "NONE"
    return f"""\
#!/bin/bash
{exported.head(plan, "sbatch script")}
{directives(plan)}#SBATCH --export={names}

{exported.variables(plan)}
{exported.functions(plan)}
{locate(agent)}
mine=$here/runs/.slurm-$SLURM_JOB_ID
if [ -s "$mine" ]; then job=$(cat "$mine"); else make_job "$here"; echo "$job" > "$mine"; fi
echo "job directory: $job"
cd "$job" || exit 1
{exported.secrets(plan)}log=$job/{contract.LOGS}/sbatch_${{job##*/}}_$SLURM_JOB_ID.out
trap : TERM USR1
bash "$job/{contract.SCRIPT}" >> "$log" 2>&1
code=$?
{_end(plan)}exit "$code"
"""


def _end(plan: Plan) -> str:
    """No launcher will look after the job: the file goes, unless a further attempt waits that reads it."""
    if not plan.profile.secrets:
        return ""
    read = f"next=-; [ ! -s {contract.CHAIN} ] || read -r _ next _ < {contract.CHAIN}"
    return f'{read}\n[ "$next" != - ] || rm -f {contract.SECRETS}\n'
