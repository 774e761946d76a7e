"""Setup lines and startup commands: does bash understand them. It would say so only once the job has begun."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_KEYS = ("setup_lines", "startup_commands")
_OLDEST = 4  # macOS has 3.2, which takes syntax of today for an error
_ENDLESS = "delimited by end-of-file"  # a here-document; bash only warns, and the agent's own lines would be part of it
_SAID = re.compile(r"line (\d+): (?:warning: )?(.*)")


def syntax(plan: Plan) -> Iterator[Finding]:
    """Nothing is run; what bash says first, and of which line."""
    texts = {key: "".join(f"{item}\n" for item in plan.agent[key]) for key in _KEYS}
    text = "".join(texts.values())
    if not text.strip():
        return
    # a file that they read may switch it on: what is right with it, or without, is right
    said = _bash(text) and _bash(text, "-O", "extglob")
    if said:
        key, where = _place(said[0], texts)
        source = plan.profile_sources.get(key, plan.profile_name)
        message = f"{key} ({source}), {where}: bash does not understand it: {said[1]}"
        yield Finding(
            "error", "shell-syntax", message, "the lines of both keys make one script; `bash -n FILE` tries one"
        )


def _bash(text: str, *options: str) -> tuple[int, str] | None:
    """The line and the words of the first error; None where there is none, or bash is too old to know."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    version = f'[ "${{BASH_VERSINFO:-0}}" -ge {_OLDEST} ] || exit 0; exec bash {" ".join(options)} -n'
    try:
        done = subprocess.run(
            ["bash", "-c", version], input=text.encode("utf-8", "surrogateescape"), capture_output=True, env=environ,
            timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):  # no bash here: nobody can say
        return None
    found = _SAID.search(done.stderr.decode(errors="replace"))
    return (int(found[1]), found[2]) if found and (done.returncode or _ENDLESS in found[2]) else None


def _place(line: int, texts: dict[str, str]) -> tuple[str, str]:
    """The key and the line in it; behind the last line something is left open."""
    for key in _KEYS:
        count = texts[key].count("\n")
        if line <= count:
            return key, f"line {line}"
        line -= count
    return next(key for key in reversed(_KEYS) if texts[key]), "at its end"


CHECKS = (syntax,)
