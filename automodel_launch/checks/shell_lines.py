"""Setup lines and startup commands: does bash understand them, and do they end the job by themselves.

It would be seen only once the job has begun. The lines are one script under `set -e`, in a bash without start-up files.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

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


_BLOCKS = names("if for while until case select function { ( (( [[ ! time coproc")
_OPERATORS = ("|", "&", "(", ")", "<", ">")
_CONDA = ("conda", "mamba", "micromamba")
_MAY_DEFINE = ("source", ".", "eval", "module", "ml", "alias", "spack")


def endings(plan: Plan) -> Iterator[Finding]:
    """Commands that stand alone in their line and end the job: exit, a file or directory that is not there, conda."""
    before: list[list[str]] = []
    for key in _KEYS:
        where = f"{key} ({plan.profile_sources.get(key, plan.profile_name)})"
        for line in "\n".join(plan.agent[key]).split("\n"):
            words = _alone(line)
            if words is None:
                return  # what follows may be part of a block, and may never run
            if words:
                yield from _of_command(plan, where, words, before)
                before.append(words)


def _alone(line: str) -> list[str] | None:
    """The words of a line that is one plain command; empty for others; None where a block or text begins."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        words = list(lexer)
    except ValueError:
        return None
    if not words:
        return []
    if words[0] in _BLOCKS or line.rstrip().endswith("\\") or "<<" in line or "()" in line:
        return None
    while words and words[-1] == ";":
        words.pop()
    return [] if any(word[0] in _OPERATORS or word == ";" for word in words if word) else words


def _of_command(plan: Plan, where: str, words: list[str], before: list[list[str]]) -> Iterator[Finding]:
    name, *rest = words
    if name in ("exit", "return", "logout") or (name == "exec" and rest):
        message = f"{where}: `{shlex.join(words)}` ends the shell in which they run, so that the training never begins."
        yield Finding(
            "error", "ends-the-job", message, "take it out; what is to run beside the training ends with ` &`"
        )
    elif name in ("source", ".", "cd") and rest:
        yield from _needs(plan, where, name, rest[0], before)
    elif name in _CONDA and rest[:1] == ["activate"] and not any(one[0] in _MAY_DEFINE for one in before):
        hook = "shell hook --shell bash" if name == "micromamba" else "shell.bash hook"
        message = f"{where}: `{shlex.join(words)}`: the job's bash reads no ~/.bashrc, where {name} is made a function."
        yield Finding(
            "error", "ends-the-job", message, f'setup_lines = [\'eval "$({name} {hook})"\', "{shlex.join(words)}"]'
        )


def _needs(plan: Plan, where: str, name: str, path: str, before: list[list[str]]) -> Iterator[Finding]:
    """A file that is read, or a directory that is gone to, by its whole path, where this machine can tell."""
    literal = path.startswith("/") and not set(path) & set("$*?[`")
    if not literal or not plan.visible or plan.image or Path(path).exists() or _made(path, before):
        return
    what = "directory" if name == "cd" else "file"
    message = f"{where}: `{name} {path}`: there is no such {what}"
    fix = f"its right path; `[ -e {path} ] && {name} {path} || true` where it may be missing"
    if plan.here:
        yield Finding("error", "ends-the-job", f"{message}, and a command that fails ends the job.", fix)
    else:
        yield Finding(
            "warning", "ends-the-job", f"{message} on this machine; where nodes lack it, too, the job ends.", fix
        )


def _made(path: str, before: list[list[str]]) -> bool:
    """A line above names the path, or a directory that it lies in, and may make it."""
    named = {word.rstrip("/") for words in before if words[0] not in ("source", ".", "cd") for word in words[1:]}
    while path not in ("/", ""):
        if path in named:
            return True
        path = posixpath.dirname(path)
    return False


CHECKS = (syntax, endings)
