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
    exit code. An engine that does not answer has ended nothing: containers may outlive it.
    """
    image = shlex.quote(script.image(plan))
    return f"""\
#!/usr/bin/env bash
{exported.head(plan, "bash run")}
{exported.variables(plan)}
{exported.functions(plan)}
is_gone() {{
  local said
  if said=$(docker container inspect --format '{{{{.State.Status}}}}' "$container" 2>&1); then
    case $said in exited | dead | removing) return 0 ;; *) return 1 ;; esac
  fi
  case $said in *"o such "*) return 0 ;; esac
  [ "$said" = "$before" ] || echo "$0: $said; waiting for $container" >&2
  before=$said
  return 1
}}
here=$(cd "$(dirname "$0")" && pwd -P) || exit 1
docker image inspect {image} >/dev/null 2>&1 || docker pull {image} >&2 || exit 1
make_job "$here"
echo "job directory: $job" >&2
cd "$job" || exit 1
before='' container=''
{exported.secrets(plan)}\
if container=$(bash "$job/{contract.SCRIPT}"); then
  trap 'docker kill --signal TERM "$container" >/dev/null 2>&1 || is_gone || exit 1' INT TERM HUP
  until [ -s {contract.EXIT} ] || is_gone; do sleep 1; done
fi
end_job 1
rm -f {contract.SECRETS}
exit "$code"
"""
