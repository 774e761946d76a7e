"""What lines above, and bash itself, have made of the shell: names that are read-only, names that `set -u` misses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from automodel_launch.checks.shell_asked import MAY_DEFINE, NAME, bash, fails
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

_OF_BASH = names("BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID")
_DECLARE = names("declare typeset")
DECLARING = names("export readonly declare typeset")
"""Commands whose words are names of variables, or assignments."""
_ASSIGNS = re.compile(r"([A-Za-z_]\w*)\+?=.*", re.DOTALL)
_READS = re.compile(r"(?<!\\)\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_DEMANDS = re.compile(r"(?<!\\)\$\{([A-Za-z_]\w*):?\?[^}]*\}")
_SINGLE_QUOTED = re.compile(r"'[^']*'")
_OF_THE_JOB = ("LAUNCH_", "SLURM_", "TORCH", "PET_", "TQDM_")  # what the agent, and NeMo-Run, set


def read_only(
    where: str, words: Sequence[str], before: Sequence[Sequence[str]], is_alone: bool = True
) -> Iterator[Finding]:
    """`export UID=...`, or a second value of what `readonly` has set; `A=2` ends the shell whatever comes behind it."""
    name, *rest = words
    fixed = {*_OF_BASH, *(one for command in before for one in _made_read_only(command))}
    given = [found[1] for found in map(_ASSIGNS.fullmatch, rest) if found] if name in DECLARING and is_alone else []
    given += [word for word in rest if name == "unset" and is_alone and "-f" not in rest]
    given += [found[1]] if (found := _ASSIGNS.fullmatch(name)) else []
    for one in given:
        if one in fixed:
            what = "bash itself has it, read-only" if one in _OF_BASH else "a line above has made it read-only"
            form = f"{name} ..." if name in (*DECLARING, "unset") else f"{one}=..."
            fix = f"take it out: {one} has its value" if one in _OF_BASH else "another name, or no readonly above"
            yield fails(where, form, f"{one} cannot be set: {what}", fix)
            return


def _made_read_only(command: Sequence[str]) -> Iterator[str]:
    name, *rest = command
    options = "".join(word for word in rest if word.startswith("-"))
    if (name == "readonly" and not set("fp") & set(options)) or (name in _DECLARE and "r" in options):
        for word in rest:
            if found := NAME.match(word):
                yield found[0]


def unbound(plan: Plan, where: str, line: str, before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """A name that nothing has set, of a job of this machine: below `set -u`, or as `${NAME:?}`, which demands it."""
    if not plan.here or plan.image or any(one[0] in MAY_DEFINE for one in before):
        return
    above = {found[0] for command in before for word in command if (found := NAME.match(word))}
    for name, told, why, fix in _wanted(_SINGLE_QUOTED.sub("", line), _misses(before)):
        if name not in above and not name.startswith(_OF_THE_JOB) and not _is_set(plan, name):
            yield fails(where, f"... {told} ...", f"{name} is set nowhere, and {why}", fix)
            return


def _wanted(line: str, misses: bool) -> Iterator[tuple[str, str, str, str]]:
    """(name, as a message shows it, what becomes of it, fix) of each that has to be set."""
    for found in _READS.finditer(line) if misses else ():
        name, why = found[1] or found[2], "a line above has bash end at such a name (set -u)"
        yield name, found[0], why, f"${{{name}:-}}, which is empty where it is not set"
    for found in _DEMANDS.finditer(line):
        name = found[1]
        yield name, f"${{{name}:?...}}", "bash ends there", f'env = ["{name}"] and export {name}=..., or env_vars'


def _misses(before: Sequence[Sequence[str]]) -> bool:
    """The last word on -u."""
    on = False
    for command in (one for one in before if one[0] == "set"):
        for at, word in enumerate(command):
            if word[:1] in ("-", "+") and ("u" in word or (word.endswith("o") and "nounset" in command[at + 1 :][:1])):
                on = word[0] == "-"
    return on


def _is_set(plan: Plan, name: str) -> bool:
    """This shell has it, the profile gives it, or any bash does."""
    given = {*plan.profile.env_vars, *plan.profile.env, *plan.profile.secrets}
    return name in os.environ or name in given or bash(f'[ -n "${{{name}+x}}" ]\n', {}) is None
