"""A command of a setup line that can only fail: a typo, a wrong name or option, one that this machine does not have.

No message shows a value. What bash itself is asked of is in shell_asked.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from automodel_launch.checks.shell_asked import ASKED, MAY_DEFINE, NAME, bash, fails, refused
from automodel_launch.checks.shell_state import DECLARING, read_only
from automodel_launch.plan.finding import Finding, Level
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

_ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\[.*\])?\+?=(.*)", re.DOTALL)
_OF_A_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?\+?=.*", re.DOTALL)
_ASKS = {"export": "fp", "readonly": "fp", "declare": "fFp", "typeset": "fFp"}
"""Options with which the rest is no name of a variable, or with which the command asks and may say no."""
_EXPANDED = re.compile(r"[$`*?\[{~!]")
_TAKES = {"export": re.compile(r"[A-Za-z_]\w*(=|$)"), "source": re.compile(r"[/~$.]")}
_MAKE_NO_FILE = names("""
    : alias cd declare echo export false kill let local ml module printf read readonly set shift shopt trap true type
    typeset ulimit umask unset test [ [[
""")
_NUMBER = re.compile(r"\d[\d.]*")
_BLANKS = "VALUE, without blanks around ="


def may_be_defined(plan: Plan, before: Iterable[Sequence[str]]) -> bool:
    """A line above, or a file that any bash reads, may make a function of any name."""
    reads = "BASH_ENV" in {*plan.profile.env_vars, *plan.profile.env, *(os.environ if plan.here else ())}
    return reads or any(one[0] in MAY_DEFINE for one in before)


def _may_bring_commands(before: Iterable[Sequence[str]]) -> bool:
    """A line above may bring a directory of commands, or a command."""
    return may_make_files(before) or any("PATH" in word for one in before if one[0] != "unset" for word in one)


def may_make_files(before: Iterable[Sequence[str]]) -> bool:
    """A line above does more than to set something, and may bring files and commands."""
    return any(one[0] not in _MAKE_NO_FILE and "=" not in one[0] for one in before)


def _has_no_path(before: Iterable[Sequence[str]]) -> bool:
    """The last line above that names PATH has unset it."""
    naming = [one for one in before if any("PATH" in word.partition("=")[0] for word in one)]
    return bool(naming) and naming[-1][0] == "unset" and "PATH" in naming[-1]


def failing(plan: Plan, where: str, words: Sequence[str], before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """What is wrong with one command that stands alone in its line; `before` are the commands of the lines above."""
    name, *rest = words
    fixed = list(read_only(where, words, before))
    if fixed:
        yield from fixed
    elif name in DECLARING:
        yield from _no_names(where, name, rest)
    elif name in ASKED:
        yield from refused(plan, where, words, before)
    elif name == "unset" and "PATH" in rest:
        message = (
            f"{where}: `unset PATH`: the training, and what it starts (a compiler, nvidia-smi), would find no command."
        )
        yield Finding("warning", "ends-the-job", message, "take it out, or set PATH")
    elif assigned := _OF_A_VARIABLE.fullmatch(name):
        what = "bash puts the value in its place, and takes what comes out for a command"
        yield fails(where, f"${assigned[1]}=...", what, f"{assigned[1]}=VALUE, without a $ before it")
    else:
        yield from _no_command(plan, where, list(words), before)


def _no_names(where: str, name: str, rest: list[str]) -> Iterator[Finding]:
    """`export A = 1`, `export A: 1`, `export A-B=1`: a word that is the name of no variable."""
    words = _operands(name, rest)
    for place, word in enumerate(words, 1):
        if not NAME.fullmatch(word) and not _ASSIGNS.fullmatch(word):
            beside = word.startswith("=") or (place > 1 and words[place - 2].endswith("="))
            what = (
                "there is a blank beside its =, and bash takes what follows for the name of another variable"
                if beside
                else f"word {place} behind it is the name of no variable"
            )
            yield fails(where, f"{name} ...", what, f"{name} NAME={_BLANKS}; a name has letters, digits and _")
            return


def _operands(name: str, rest: list[str]) -> list[str]:
    """The words behind a builtin's options; none where it only asks, or where their names cannot be told."""
    count = next((at for at, word in enumerate(rest) if word[:1] not in ("-", "+") or word == "--"), len(rest))
    options, words = "".join(rest[:count]), [word for word in rest[count:] if word != "--"]
    asks = set(_ASKS.get(name, "")) & set(options)
    # a value of several words, as in A=`date +%F` or A=${B:-x y}: what looks like words is none
    torn = any("`" in word or word.count("{") != word.count("}") for word in words)
    unknown = any(_EXPANDED.search(word.partition("=")[0]) for word in words)
    return [] if asks or torn or unknown else words


def _no_command(plan: Plan, where: str, words: list[str], before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    empty = None
    while words and (assigns := _ASSIGNS.fullmatch(words[0])):
        empty, words = (None if assigns[3] else assigns[1]), words[1:]
    if not words or _EXPANDED.search(words[0]):
        return
    name, first = words[0], words[1] if words[1:] else ""
    level: Level = "warning" if may_be_defined(plan, before) else "error"
    surely = plan.here and not plan.image and level == "error" and not _may_bring_commands(before)
    spaced, meant = first.startswith("=") and bool(NAME.fullmatch(name)), _meant(name, first)
    if empty and (_NUMBER.fullmatch(name) or (surely and _is_unknown(plan, name))):
        what = "bash takes what comes behind the blank for a command"
        yield fails(where, f"{empty}= ...", what, f"{empty}={_BLANKS}")
    elif meant and _is_unknown(plan, name):
        yield fails(where, name, f"bash has no command {name}", meant, level)
    elif spaced and _is_unknown(plan, name):
        yield fails(where, f"{name} = ...", f"bash takes {name} for a command", f"{name}={_BLANKS}", level)
    elif surely and _is_unknown(plan, name, without_path=(lost := _has_no_path(before))):
        if lost and not _is_unknown(plan, name):
            yield fails(where, name, "`unset PATH` above leaves bash no command but its own", "no `unset PATH`", level)
            return
        fix = f"its right name, or what brings it in a line above; `{name} ... || true` where it may be missing"
        yield fails(where, name, f"this machine has no command {name}", fix, level)


def _meant(name: str, first: str) -> str | None:
    """The builtin of which a word, with such an argument, has two letters swapped or one left out."""
    for builtin, argument in _TAKES.items():
        swapped = {f"{builtin[:i]}{builtin[i + 1]}{builtin[i]}{builtin[i + 2 :]}" for i in range(len(builtin) - 1)}
        shorter = {builtin[:i] + builtin[i + 1 :] for i in range(len(builtin))}
        if name != builtin and name in swapped | shorter and argument.match(first):
            return builtin
    return None


def _is_unknown(plan: Plan, name: str, without_path: bool = False) -> bool:
    """This machine's bash knows no such file, builtin or function; a name with a slash is not looked for."""
    if "/" in name or "\n" in name:
        return False
    environ = {**os.environ, **plan.profile.env_vars}
    environ.pop("BASH_ENV", None)  # bash would run it
    first = "PATH=\n" if without_path else ""
    return bash(first + 'read -r name; type -- "$name" > /dev/null\n' + name + "\n", environ) is not None
