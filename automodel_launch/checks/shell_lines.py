"""Setup lines and startup commands: does bash understand them, and do they end the job by themselves.

It would be seen only once the job has begun. The lines are one script under `set -e`, in a bash without start-up files.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator

from automodel_launch.checks.shell_asked import ARITHMETIC, TESTS
from automodel_launch.checks.shell_commands import failing, may_be_defined
from automodel_launch.checks.shell_paths import needs
from automodel_launch.checks.shell_state import read_only, unbound
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


_BLOCKS = names("if for while until case select function { coproc")
_OPERATORS = "();<>|&"
_GOES_ON = ("&&", "||", "|", "|&")  # at the end of a line: the next one belongs to it
_SUM = re.compile(r"\s*\(\(((?:(?!\)\)).)*)\)\)\s*;?\s*")
_SUBSTITUTED = re.compile(r"\$\(\([^()]*\)\)|\$\([^()]*\)")  # $((...)) and $(...): no operators of the line
_COMMENT = re.compile(r"(^|\s)#.*")
_THERE = names("-d -e -f -h -r -s -w -x -L -S")  # of a test: a path that is not there fails each of them
_CONDA = ("conda", "mamba", "micromamba")


def endings(plan: Plan) -> Iterator[Finding]:
    """Commands that stand alone in their line and end the job: exit, typos, conda, a file or directory not there."""
    before: list[list[str]] = []
    for key in _KEYS:
        where = f"{key} ({plan.profile_sources.get(key, plan.profile_name)})"
        for line in "\n".join(plan.agent[key]).split("\n"):
            words = _words(line)
            if words is None:
                return  # what follows may be part of a block, and may never run
            commands = _commands(words)
            if any(command[0] in _BLOCKS for command in commands):
                return
            yield from _of_line(plan, where, line, before)
            before += commands


def _of_line(plan: Plan, where: str, line: str, before: list[list[str]]) -> Iterator[Finding]:
    """One line, where each of its commands is run whatever the others do: none, or `;`, stands between them."""
    if summed := _SUM.fullmatch(_COMMENT.sub("", line)):
        yield from _of_command(plan, where, [ARITHMETIC, summed[1].strip()], before)
        return
    words = _words(_SUBSTITUTED.sub("$_", line)) or []
    commands, above = _commands(words), list(before)
    between = {word for word in words if _is_operator(word)}
    if between <= {";"}:
        yield from unbound(plan, where, _SUBSTITUTED.sub("", _COMMENT.sub("", line)), [*before, *commands[:-1]])
        for command in commands:
            yield from _of_command(plan, where, command, above)
            above.append(command)
    elif between <= {";", "&&", "||"}:  # a value that cannot be set ends bash even there
        yield from read_only(where, commands[0], above, is_alone=False)


def _words(line: str) -> list[str] | None:
    """A line's words and operators; None where it goes on in the next one, or that cannot be told."""
    lexer = shlex.shlex(_COMMENT.sub("", line), posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:
        return None
    brackets = "".join(filter(_is_operator, words))
    is_open = brackets.count("(") != brackets.count(")") or (words and words[-1] in _GOES_ON)
    return None if is_open or line.rstrip().endswith("\\") or "<<" in line or "()" in line else words


def _commands(words: Iterable[str]) -> list[list[str]]:
    """The words of each command of a line; the file of a redirection counts as one of its own."""
    groups = itertools.groupby(words, _is_operator)
    return [list(group) for are_operators, group in groups if not are_operators]


def _is_operator(word: str) -> bool:
    return bool(word) and not word.strip(_OPERATORS)


def _of_command(plan: Plan, where: str, words: list[str], before: list[list[str]]) -> Iterator[Finding]:
    name, *rest = words
    told = f"{where}: `{shlex.join(words)}`"
    if name in ("exit", "return", "logout") or (name == "exec" and rest):
        message = f"{told} ends the shell in which they run, so that the training never begins."
        yield Finding(
            "error", "ends-the-job", message, "take it out; what is to run beside the training ends with ` &`"
        )
    elif any(one[0] == "set" and {"+e", "errexit"} & set(one) for one in before):
        return  # what fails does not end it
    elif name in ("source", ".", "cd") and rest:
        yield from needs(plan, where, f"{name} {{}}", rest[0], before)
    elif name in TESTS and len(rest) > 1 and rest[0] in _THERE and " ".join(rest[2:]) == TESTS[name]:
        yield from needs(plan, where, f"{name} {rest[0]} {{}} {TESTS[name]}".rstrip(), rest[1], before)
    elif name in _CONDA and rest[:1] == ["activate"] and not _may_be_known(plan, before):
        hook = "shell.bash hook" if name == "conda" else "shell hook --shell bash"
        message = f"{told}: the job's bash reads no ~/.bashrc, where {name} is made a function."
        yield Finding(
            "error", "ends-the-job", message, f'setup_lines = [\'eval "$({name} {hook})"\', "{shlex.join(words)}"]'
        )
    else:
        yield from failing(plan, where, words, before)


def _may_be_known(plan: Plan, before: list[list[str]]) -> bool:
    """A line above, or a file that any bash reads (BASH_ENV; NVIDIA's images have one), may make conda a function."""
    return bool(plan.image) or may_be_defined(plan, before)


CHECKS = (syntax, endings)
