"""A job that starts itself, without a launcher: marks in its files, and the lines of bash that put values there.

A directory that somebody copies has no path of its own: what is exported holds MARKs where a job's files hold absolute
paths, and each start makes a job's directory of it. An executor adds how it is started.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.errors import ProfileError
from automodel_launch.harmless import harmless

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

ROOT = "/@launch-directory@/runs"  # the job root: below the exported directory, wherever that is
NUMBER = "@launch-number@"  # of the job, in its id
PYTHON = "@launch-python@"  # of the training
TRACKER = "@launch-tracker@"  # tells two places of one exported run apart, for experiment trackers
JOB, RUN = "job", "begun"  # folders of what is exported: files of a job, and of its run
RENDERED = (contract.AGENT, contract.CONFIG, contract.SCRIPT, contract.PLAN)


def head(plan: Plan, command: str) -> str:
    """The first comment: what it is, how it is started, and what it needs."""
    lines = [
        f"# {plan.run_name}: {plan.recipe.name} with the config {plan.config_name}, exported; it needs no launcher.",
        f"#     {command}",
        "# Each start is a further job of one run, in runs/ beside this file, from its last checkpoint on.",
        f"# Needs: {needs(plan)}",
    ]
    named = plan.data.get("named") or ()
    paths = [str(path) for _, value in named for path in (value if isinstance(value, (list, tuple)) else [value])]
    if paths:
        lines.append(f"# Data, at these paths: {' '.join(paths[:4])}{' ...' if len(paths) > 4 else ''}")
    if plan.profile.secrets:
        names = " ".join(plan.profile.secrets)
        lines.append(f"# Variables, of the shell that starts it: {names}. Their values stand in no file of this.")
    return "".join(f"{harmless(line)}\n" for line in lines)


def needs(plan: Plan) -> str:
    """Software."""
    wanted = ", ".join(plan.recipe.dependencies) or "what the script imports"
    if plan.profile.venv_archive:
        return f"{plan.profile.venv_archive} with {wanted}"
    return f"the image {plan.image}" if plan.image else f"a Python with {wanted}"


def variables(plan: Plan) -> str:
    """Lines that a person may edit."""
    return f"python={shlex.quote(plan.agent['python'])}  # of the training\n"


def functions(plan: Plan) -> str:
    """Bash: `make_job DIRECTORY` sets `job`, a new job's directory below it with everything in its place.

    `end_job CODE` sets `code`, the job's own; where its agent was killed, or never began, exit.json says so.
    """
    run = shlex.quote(plan.run_name)
    secrets = " ".join(plan.profile.secrets)
    return f"""\
refuse() {{ echo "$0: $1" >&2; exit {contract.CANNOT_BE_USED}; }}
make_job() {{
  local here=$1 name number=1 tracker
  case $here in /*) ;; *) refuse "$here is no absolute path" ;; esac
  case $here in *[!A-Za-z0-9_./@+,=-]*) refuse "$here: move it to a path of letters, digits and _ . / @ + , = -" ;; esac
  for name in {secrets or "PATH"}; do [ -n "${{!name+set}}" ] || refuse "$name is not set: export it first"; done
  mkdir -p "$here/runs/"{run} || exit 1
  for name in "$here/{RUN}"/*; do
    [ ! -f "$name" ] || [ -e "$here/runs/"{run}/"${{name##*/}}" ] || cp "$name" "$here/runs/"{run}/
  done
  until mkdir "$here/runs/"{run}".$number" 2>/dev/null; do
    [ -d "$here/runs/"{run}".$number" ] || refuse "$here/runs cannot be written"
    number=$((number + 1))
  done
  job=$here/runs/{run}.$number
  tracker=$(printf %s "$here" | cksum) tracker=${{tracker%% *}}
  trap 'rm -rf "$job"' EXIT  # no disk has room for all of it
  cp -R "$here/{JOB}/." "$job/" && mkdir -p "$job/{contract.LOGS}" || exit 1
  for name in {" ".join(RENDERED)}; do
    sed -e "s|{ROOT.rpartition("/")[0]}|$here|g" -e "s|{NUMBER}|$number|g" -e "s|{TRACKER}|$tracker|g" \\
      -e "s|{PYTHON}|$python|g" "$here/{JOB}/$name" > "$job/$name" || exit 1
  done
  trap - EXIT
}}
end_job() {{
  sh "$job/{contract.NODE_AGENT_SH}" finish "$job" --code "$1"
  code=$?
}}
"""


def secrets(plan: Plan) -> str:
    """Bash, in the job's directory: the variables' values into the file that the node agent reads."""
    names = " ".join(plan.profile.secrets)
    write = f"""for name in {names}; do printf '%s=%q\\n' "$name" "${{!name}}"; done > {contract.SECRETS}"""
    return f"(umask 077; {write})\nunset {names}\n" if names else ""


def no_plain(plan: Plan) -> ProfileError:
    """For executors that have no batch scripts."""
    return ProfileError(
        f"profile {plan.profile_name}: --export-plain writes a batch script, and this is executor '{plan.executor}'.",
        "a profile on slurm; or --export DIR",
    )


def local(plan: Plan) -> str:
    """`run`, for one machine: the node agent, with its true exit code.

    Not by `exec`: somebody has to be there if the agent is killed.
    """
    return f"""\
#!/usr/bin/env bash
{head(plan, "bash run        (PYTHON=/path/of/python bash run: with another Python)")}
{variables(plan)}python=${{PYTHON:-$python}}
case $python in *[!A-Za-z0-9_./@+,=-]*) echo "$0: PYTHON=$python: no such path can be used" >&2; exit 2 ;; esac
{functions(plan)}
here=$(cd "$(dirname "$0")" && pwd -P) || exit 1
make_job "$here"
echo "job directory: $job" >&2
sh "$job/{contract.NODE_AGENT_SH}" run "$job/{contract.AGENT}" &
agent=$!
for name in INT TERM HUP; do trap "kill -$name $agent 2>/dev/null" "$name"; done
wait "$agent"
code=$?
while kill -0 "$agent" 2>/dev/null; do  # a signal has ended the wait alone
  wait "$agent"
  code=$?
done
[ -e "$job/{contract.EXIT}" ] || end_job "$code"
exit "$code"
"""
