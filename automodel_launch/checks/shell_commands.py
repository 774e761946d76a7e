"""A command of a setup line that can only fail: a typo, a wrong name or option, one that this machine does not have.

Nothing of a line is run, but for what sets something of the shell's own (`set`, `shopt`, `umask`, `ulimit`, `let` of a
number), in a bash that ends at once. No message shows a value.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence

from automodel_launch.plan.finding import Finding, Level
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

_MAY_DEFINE = names("source . eval module ml alias spack")
_NAME = re.compile(r"[A-Za-z_]\w*")
_ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\[.*\])?\+?=(.*)", re.DOTALL)
_OF_A_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?\+?=.*", re.DOTALL)
_NAMES_VARIABLES = names("export readonly declare typeset")
_OF_THE_SHELL = names("set shopt umask trap ulimit let")
_ASKS = {"export": "fp", "readonly": "fp", "declare": "fFp", "typeset": "fFp", "shopt": "qpo"}
"""Options with which the rest is no name of a variable, or with which the command asks and may say no."""
_PLAIN = re.compile(r"[\w+=,-]+")
_EXPANDED = re.compile(r"[$`*?\[{~!]")
_TAKES = {"export": re.compile(r"[A-Za-z_]\w*(=|$)"), "source": re.compile(r"[/~$.]")}
_MAKE_NO_FILE = names("alias cd echo export ml module set shopt ulimit umask unset")
_NUMBER = re.compile(r"\d[\d.]*")
_COUNTS = re.compile(r"[A-Za-z_]\w*=\d+")
_OLDEST = 4  # macOS has 3.2, which lacks options of today
_BLANKS = "VALUE, without blanks around ="
_LIMIT_S = 10


def may_be_defined(plan: Plan, before: Iterable[Sequence[str]]) -> bool:
    """A line above, or a file that any bash reads, may make a function of any name."""
    reads = "BASH_ENV" in {*plan.profile.env_vars, *plan.profile.env, *(os.environ if plan.here else ())}
    return reads or any(one[0] in _MAY_DEFINE for one in before)


def _may_bring_commands(before: Iterable[Sequence[str]]) -> bool:
    """A line above may bring a directory of commands, or a command."""
    return may_make_files(before) or any("PATH" in word for one in before for word in one)


def may_make_files(before: Iterable[Sequence[str]]) -> bool:
    """A line above does more than to set something, and may bring files and commands."""
    return any(one[0] not in _MAKE_NO_FILE and "=" not in one[0] for one in before)


def failing(plan: Plan, where: str, words: Sequence[str], before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """What is wrong with one command that stands alone in its line; `before` are the commands of the lines above."""
    name, *rest = words
    if name in _NAMES_VARIABLES:
        yield from _no_names(where, name, rest)
    elif name in _OF_THE_SHELL:
        yield from _no_options(plan, where, name, rest)
    elif assigned := _OF_A_VARIABLE.fullmatch(name):
        what = "bash puts the value in its place, and takes what comes out for a command"
        yield _finding(where, f"${assigned[1]}=...", what, f"{assigned[1]}=VALUE, without a $ before it")
    else:
        yield from _no_command(plan, where, list(words), before)


def _no_names(where: str, name: str, rest: list[str]) -> Iterator[Finding]:
    """`export A = 1`, `export A: 1`, `export A-B=1`: a word that is the name of no variable."""
    words = _operands(name, rest)
    for place, word in enumerate(words, 1):
        if not _NAME.fullmatch(word) and not _ASSIGNS.fullmatch(word):
            beside = word.startswith("=") or (place > 1 and words[place - 2].endswith("="))
            what = (
                "there is a blank beside its =, and bash takes what follows for the name of another variable"
                if beside
                else f"word {place} behind it is the name of no variable"
            )
            yield _finding(where, f"{name} ...", what, f"{name} NAME={_BLANKS}; a name has letters, digits and _")
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


def _no_options(plan: Plan, where: str, name: str, rest: list[str]) -> Iterator[Finding]:
    """`set -o pipefial`, `trap 'kill 0' TERN`, `umask 999`, `let A=0`: asked of bash itself."""
    if not (asked := _asked(plan, name, rest)):
        return
    old = f'[ "${{BASH_VERSINFO:-0}}" -ge {_OLDEST} ] || exit 0\n'
    said = _bash(f"{old}{' '.join([name, *asked])} < /dev/null > /dev/null\n", {})
    if said is not None:
        level: Level = "error" if plan.here or name in ("umask", "let") else "warning"  # another bash may know more
        what = f"bash says `{said}`" if said else "what comes out is 0, which bash takes for a failure"
        fixes = {"let": f"{rest[0]}, without let", "ulimit": "`ulimit -H -a` lists the most that may be set here"}
        fix = fixes.get(name, f"`help {name}` lists what is valid")
        told = "trap ... " + " ".join(asked[1:]) if name == "trap" else " ".join([name, *asked])
        yield _finding(where, told, what, fix, level)


def _asked(plan: Plan, name: str, rest: list[str]) -> list[str]:
    """The words behind it that bash is asked about; none where it sets nothing, or that depends on another machine."""
    if name == "trap":  # the signals, which are left as they are: a command for EXIT would be run
        rest = ["-", *rest[1:]] if rest[1:] and not rest[0].startswith("-") else []
    asks = {
        "shopt": rest[:1] not in (["-s"], ["-u"]),
        "ulimit": bool(plan.image) or not plan.here,
        "let": not all(map(_COUNTS.fullmatch, rest)),
    }
    if asks.get(name) or set(_ASKS.get(name, "")) & set("".join(rest[:1])):
        return []
    return rest if all(map(_PLAIN.fullmatch, rest)) else []


def _no_command(plan: Plan, where: str, words: list[str], before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    empty = None
    while words and (assigns := _ASSIGNS.fullmatch(words[0])):
        empty, words = (None if assigns[3] else assigns[1]), words[1:]
    if not words or _EXPANDED.search(words[0]):
        return
    name, first = words[0], words[1] if words[1:] else ""
    level: Level = "warning" if may_be_defined(plan, before) else "error"
    surely = plan.here and not plan.image and level == "error" and not _may_bring_commands(before)
    spaced, meant = first.startswith("=") and bool(_NAME.fullmatch(name)), _meant(name, first)
    if empty and (_NUMBER.fullmatch(name) or (surely and _is_unknown(plan, name))):
        what = "bash takes what comes behind the blank for a command"
        yield _finding(where, f"{empty}= ...", what, f"{empty}={_BLANKS}")
    elif meant and _is_unknown(plan, name):
        yield _finding(where, name, f"bash has no command {name}", meant, level)
    elif spaced and _is_unknown(plan, name):
        yield _finding(where, f"{name} = ...", f"bash takes {name} for a command", f"{name}={_BLANKS}", level)
    elif surely and _is_unknown(plan, name):
        fix = f"its right name, or what brings it in a line above; `{name} ... || true` where it may be missing"
        yield _finding(where, name, f"this machine has no command {name}", fix, level)


def _finding(where: str, told: str, what: str, fix: str, level: Level = "error") -> Finding:
    return Finding(level, "ends-the-job", f"{where}: `{told}`: {what}, and a command that fails ends the job.", fix)


def _meant(name: str, first: str) -> str | None:
    """The builtin of which a word, with such an argument, has two letters swapped or one left out."""
    for builtin, argument in _TAKES.items():
        swapped = {f"{builtin[:i]}{builtin[i + 1]}{builtin[i]}{builtin[i + 2 :]}" for i in range(len(builtin) - 1)}
        shorter = {builtin[:i] + builtin[i + 1 :] for i in range(len(builtin))}
        if name != builtin and name in swapped | shorter and argument.match(first):
            return builtin
    return None


def _is_unknown(plan: Plan, name: str) -> bool:
    """This machine's bash knows no such file, builtin or function; a name with a slash is not looked for."""
    if "/" in name or "\n" in name:
        return False
    environ = {**os.environ, **plan.profile.env_vars}
    environ.pop("BASH_ENV", None)  # bash would run it
    return _bash('read -r name; type -- "$name" > /dev/null\n' + name + "\n", environ) is not None


def _bash(text: str, environ: Mapping[str, str]) -> str | None:
    """The last words of what bash says of lines that fail, which it reads from a pipe; None where they do not.

    No list of processes shows them; and where there is no bash nobody can say.
    """
    try:
        done = subprocess.run(
            ["bash"], input=text.encode("utf-8", "surrogateescape"), capture_output=True, timeout=_LIMIT_S, check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **environ},
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return re.sub(r"^bash: (line \d+: )?", "", said[-1] if said else "") if done.returncode else None
