"""Commands of bash's own that can only fail where they stand alone in a line: bash itself is asked.

Nothing of a line is run but what sets or asks something of the shell's own, with words that stand for themselves, in a
bash that ends at once. No message shows a value.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from automodel_launch.plan.finding import Finding, Level
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

ARITHMETIC = "(("
TESTS = {"test": "", "[": "]", "[[": "]]"}
"""And what ends it."""
ASKED = {*names("set shopt umask trap ulimit let false shift local kill expr"), ARITHMETIC, *TESTS}
NAME = re.compile(r"[A-Za-z_]\w*")
MAY_DEFINE = names("source . eval module ml alias spack")
_EVERYWHERE = {*names("umask let false shift local expr"), ARITHMETIC, *TESTS}
"""Those of which another bash says the same."""
_PLAIN = re.compile(r"[\w+=,-]+")
_LITERAL = re.compile(r"[\w+=,./:@%-]*")
_EXPRESSION = re.compile(r"[\w\s+\-*/%=<>!&|^~?:()]+")
_IDENTIFIER = re.compile(r"(?<!\w)[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
_COUNT = re.compile(r"([A-Za-z_]\w*)=(\d+)")
_COUNTING = re.compile(r"\s*(?:([A-Za-z_]\w*)(\+\+|--)|(?:\+\+|--)([A-Za-z_]\w*))\s*")
_EQUAL = names("= == !=")
_ORDER = names("-eq -ne -lt -le -gt -ge")
_SIGNAL = re.compile(r"-(?!(?:[lLnsq])$)([A-Za-z]\w*|\d+)")
_OLDEST = 4  # macOS has 3.2, which lacks options of today
_LIMIT_S = 10
_SILENT = {
    "umask": "who runs the job could not read or write what it makes",
    **dict.fromkeys(("let", ARITHMETIC, "expr"), "what comes out is 0, which bash takes for a failure"),
    **dict.fromkeys(TESTS, "it is never true"),
    "false": "it always fails",
    "shift": "there is no word to shift",
}


def refused(plan: Plan, where: str, words: Sequence[str], before: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """`set -o pipefial`, `umask 999`, `((A=0))`, `[ 1 = 2 ]`, `kill -TREM 1`; `before` are the commands above."""
    name, *rest = words
    text = _text(plan, name, rest, before)
    if text is None:
        return
    said = bash(f'[ "${{BASH_VERSINFO:-0}}" -ge {_OLDEST} ] || exit 0\n{text} < /dev/null > /dev/null\n', {})
    if said is None:
        return
    level: Level = "error" if plan.here or name in _EVERYWHERE else "warning"  # another bash may know more
    if name == "umask" and not said and plan.here and os.geteuid() == 0:
        level = "warning"  # root may, whatever the mode says
    what = f"bash says `{said}`" if said else _SILENT.get(name, "it fails")
    yield fails(where, _told(name, rest), what, _fix(name, rest, said), level)


def fails(where: str, told: str, what: str, fix: str, level: Level = "error") -> Finding:
    """The finding of a command that can only fail."""
    return Finding(level, "ends-the-job", f"{where}: `{told}`: {what}, and a command that fails ends the job.", fix)


def _told(name: str, rest: Sequence[str]) -> str:
    """The command as a message shows it."""
    if name == "trap":
        return " ".join(["trap ...", *rest[1:]])
    if name == ARITHMETIC:
        return f"(({rest[0]}))"
    return " ".join([name, *(word or "''" for word in rest)])


def _fix(name: str, rest: Sequence[str], said: str) -> str:
    if name in ("let", ARITHMETIC):
        sets, counts = _ASSIGNED.match(rest[0]), _COUNTING.fullmatch(rest[0])
        if sets and len(rest) == 1 and _COUNT.fullmatch(rest[0].strip()):
            return f"{rest[0].strip()}, without {'let' if name == 'let' else 'the brackets'}"
        if counts:
            counted = counts[1] or counts[3]
            return f"{counted}=$(({counted} {'+' if '++' in rest[0] else '-'} 1)), which does not fail"
        return "NAME=$((...)), which does not fail"
    fixes = {
        "ulimit": "`ulimit -H -a` lists the most that may be set here",
        "kill": "`kill -l` lists the signals",
        "local": "`local` is for functions; NAME=VALUE without it",
    }
    if name == "umask" and not said:
        return "umask 0077 is the strictest that works"
    if name in TESTS or name in ("false", "shift", "expr"):
        return f"take it out, or put `|| true` behind it (`{_told(name, rest)} || true`)"
    return fixes.get(name, f"`help {name}` lists what is valid")


def _text(plan: Plan, name: str, rest: Sequence[str], before: Sequence[Sequence[str]]) -> str | None:
    """What bash is asked; None where it sets nothing, or that depends on another machine or on what is not known."""
    if name in TESTS:
        return _test(name, rest)
    if name in ("let", ARITHMETIC):
        return _sum(rest, before)
    if name == "kill":
        return _signal(rest)
    if name == "false":
        return name
    if name == "trap":  # the signals, which are left as they are: a command for EXIT would be run
        rest = ["-", *rest[1:]] if rest[1:] and not rest[0].startswith("-") else []
    leaves_out = {
        "shopt": rest[:1] not in (["-s"], ["-u"]) or bool(set("qpo") & set("".join(rest[:1]))),
        "ulimit": bool(plan.image) or not plan.here,
        "shift": any(one[0] in {"set", *MAY_DEFINE} for one in before),
    }
    if leaves_out.get(name) or not all(map(_PLAIN.fullmatch, rest)) or not (rest or name == "shift"):
        return None
    asked = " ".join([name, *rest])
    # beside the mode in octal there is that in letters, and -S, which only asks
    return f"{asked} > /dev/null && [[ $(umask -S) == u=rwx* ]]" if name == "umask" else asked


def _test(name: str, rest: Sequence[str]) -> str | None:
    """A test of words that stand for themselves."""
    inner = list(rest[:-1] if TESTS[name] else rest)
    if (rest[-1:] != [TESTS[name]]) if TESTS[name] else not inner:
        return None
    core = inner[1:] if inner[:1] == ["!"] else inner
    operands, form = [core[0], core[-1]] if len(core) == 3 else core[-1:], core[1] if len(core) == 3 else ""
    numbers = form in _ORDER and all(word.isdigit() for word in operands)
    pair = len(core) == 3 and (form in _EQUAL or numbers)
    alone = len(core) == 1 or (len(core) == 2 and core[0] in ("-n", "-z"))
    if not (pair or alone) or not all(map(_LITERAL.fullmatch, operands)):
        return None
    return " ".join([name, *(word or "''" for word in inner), TESTS[name]])


def _sum(expressions: Sequence[str], before: Sequence[Sequence[str]]) -> str | None:
    """Arithmetic of numbers, of what it sets itself, and of numbers that a line above has set."""
    if not expressions or not all(map(_EXPRESSION.fullmatch, expressions)):
        return None
    known = _counts(before)
    sets = {found[1] for found in map(_ASSIGNED.match, expressions) if found}
    read = {word for one in expressions for word in _IDENTIFIER.findall(one)}
    if read - sets - set(known):
        return None
    return "\n".join([*(f"{name}={value}" for name, value in known.items()), f"let {_quoted(expressions)}"])


def _quoted(words: Sequence[str]) -> str:
    return " ".join(f"'{word}'" for word in words)  # none has a quote in it: _EXPRESSION


def _counts(before: Sequence[Sequence[str]]) -> dict[str, str]:
    """Names that lines above set to a number, and that nothing else names; none where a file was read."""
    if any(one[0] in MAY_DEFINE for one in before):
        return {}
    words = [word for one in before for word in one]
    found = [count for count in map(_COUNT.fullmatch, words) if count]
    return {
        one[1]: one[2] for one in found if sum(bool(re.search(rf"\b{one[1]}\b", word)) for word in words) == 1
    }  # fmt: skip


def _signal(rest: Sequence[str]) -> str | None:
    """`kill -FOO`, `kill -s FOO`: whether there is such a signal. None is sent."""
    given = (
        rest[1:2] if rest[:1] in (["-s"], ["-n"]) else [found[1] for found in map(_SIGNAL.fullmatch, rest[:1]) if found]
    )
    return f"kill -l {given[0]}" if given and _PLAIN.fullmatch(given[0]) and given != ["0"] else None


def bash(text: str, environ: Mapping[str, str]) -> str | None:
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
