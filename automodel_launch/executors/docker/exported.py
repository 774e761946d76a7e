"""`run`: makes a job's directory where it lies, starts the job's container, and waits for it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.executors import exported
from automodel_launch.executors.docker import script

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan


def text(plan: Plan) -> str:
    """The script. Docker's own `wait` would end with a Ctrl-C, and by then the container may be gone: exit.json has the
    exit code.
    """
    image = shlex.quote(script.image(plan))
    return f"""\
#!/usr/bin/env bash
{exported.head(plan, "bash run")}
{exported.variables(plan)}
{exported.functions(plan)}
here=$(cd "$(dirname "$0")" && pwd -P) || exit 1
docker image inspect {image} >/dev/null 2>&1 || docker pull {image} >&2 || exit 1
make_job "$here"
echo "job directory: $job" >&2
cd "$job" || exit 1
{exported.secrets(plan)}\
container=$(bash "$job/{contract.SCRIPT}") || {{ rm -f {contract.SECRETS}; exit 1; }}
trap 'docker kill --signal TERM "$container" >/dev/null 2>&1' INT TERM HUP
while [ -n "$(docker ps --quiet --filter "id=$container")" ]; do sleep 1; done
code=$(grep -o '"code": [0-9]*' {contract.EXIT} 2>/dev/null | head -n 1)
exit "${{code##* }}"
"""
