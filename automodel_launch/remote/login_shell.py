"""What a job finds set at its start: Slurm asks a login shell of the user for it (sbatch --export=NONE).

The shell is the user's own, whatever that is, and is asked as Slurm asks it: as root's `su - USER -c` would. Where its
start-up files end, or run another shell, Slurm gets no answer, and a job starts with no variable at all.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

from automodel_launch.remote import probes
from automodel_launch.remote.probes import Result, Results

LOST = 96  # exit code: it has not come to our script
FIX = "in ~/.bash_profile or ~/.profile there: another shell for people only: case $- in *i*) exec zsh ;; esac"
_MARK = "launch-login-shell"
_ASK = """\
unset SSH_CLIENT SSH_CONNECTION SSH_TTY SHLVL
export LAUNCH_LOGIN_SCRIPT={script}
own=$(getent passwd "$(id -un)" | cut -d: -f7)
own=${{own:-${{SHELL:-/bin/bash}}}}
said=$(exec -a "-${{own##*/}}" "$own" -c {start} 2>&1 </dev/null); code=$?
[[ $said == *{mark}-begin* ]] || {{ echo "$own"; exit {lost}; }}
said=${{said#*{mark}-begin}}
printf '%s\\n' "${{said#?}}"
exit $code
"""
# See framed.py: words that every shell takes alike, and a mark that is not written as it is printed.
_PART = """\
part() {
  local out code
  out=$(bash --norc -c "$2" 2>&1 </dev/null); code=$?
  print_result "$1" "$code" "$out"
}
"""
_START = f'exec bash --norc -c \'echo {_MARK}-"begin"; eval "$LAUNCH_LOGIN_SCRIPT"\''


def question(script: str) -> str:
    """Bash that runs a script with what a login shell sets: its output and exit code, or LOST."""
    return _ASK.format(script=shlex.quote(script), start=shlex.quote(_START), mark=_MARK, lost=LOST)


def together(scripts: Mapping[str, str]) -> str:
    """The same of several scripts, each by a name, in one login shell: its start-up files may take seconds.

    They run one after the other, each in a bash of its own; `apart` reads the answer.
    """
    calls = (f"part {name} {shlex.quote(script)}\n" for name, script in scripts.items())
    return question(f"{probes.PRINT_RESULT}{_PART}{''.join(calls)}:")


def apart(results: Results, name: str, parts: Iterable[str]) -> Results:
    """The results with those of the scripts that the answer `name` holds; where it has none, they have its own."""
    whole = results[name]
    found = {} if whole.code else probes.parse(whole.text)
    return replace(results, results={**results.results, **{part: found.get(part, whole) for part in parts}})


def lost(answer: Result) -> str | None:
    """Why jobs start with no variable; None where they do not."""
    if answer.code != LOST:
        return None
    shell = answer.text.strip() or "the login shell"
    return f"{shell}, as a login shell, ends or runs another one in its start-up files, before it comes to a command"
