"""One line about an end, for a person to read."""

from __future__ import annotations

import re
from typing import Mapping

import contract

from .patterns import pattern
from .startup import Outcome

_MISSING = "; there is no such command on the PATH there: in a container only what the image and `mounts` bring"
_NAMES = ("Error", "Exception", "Fatal Python error")  # the last: an interpreter that does not start
_NOT_FOUND = pattern("not found|no module named|no such file|not set|unbound variable", re.I)


def startup_error(code: int, outcome: Outcome, said: list[str]) -> str:
    """Why the startup commands ended with `code`; `said` is their output."""
    if code == 0:
        return "startup commands: the shell was left by `exit`; it has to go on to its end"
    what = f"startup command failed with exit code {code}"
    if outcome.failed_command:
        what += ": " + " ".join(outcome.failed_command.split())
    last = said[-1:]
    what += f" ({last[0][:300]})" if last else ""
    return what + (_MISSING if code == contract.NOT_FOUND else "")


def explained(error: str | None, environ: Mapping[bytes, bytes]) -> str | None:
    """An error, with what explains that something was not found where Slurm had no variable for the job: see
    node_agent.sh, which says the same where there is no Python.
    """
    if error is None or environ.get(b"HOME") or b"SLURM_JOB_ID" not in environ or not _NOT_FOUND.search(error):
        return error
    return (
        error + ". HOME is not set: the start-up files of the login shell (~/.bash_profile) end it or run another shell"
    )


def last_error(lines: list[str]) -> str | None:
    """The last line that names an exception, else the last one; without `error: `, which who shows it puts there."""
    named = [line for line in lines if ":" in line and line.split(":", 1)[0].endswith(_NAMES)]
    chosen = named or lines
    return chosen[-1].removeprefix("error: ") if chosen else None


def job_end(result: dict[str, object]) -> str:
    """What an exit.json says."""
    text = "{} with code {}".format(result["state"], result["code"])
    if result["rank"] is not None:
        text += "; rank {} on {}".format(result["rank"], result["node"])
    return text + (": {}".format(result["error"]) if result["error"] else "")
