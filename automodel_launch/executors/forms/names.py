"""Names: of partitions, accounts and the like, lists of nodes, and features."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault

_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_NODES = 'as "node[01-04,7],gpu3"'


def one_word(key: str, value: str) -> Iterator[Fault]:
    """A name, or several with commas: no blanks in it, nor a comment behind it."""
    name, mark, _ = value.partition("#")
    if mark and (name != name.rstrip() or not name):
        right = f'{key} = "{name.strip()}"' if name.strip() else f"take {key} out"
        yield Fault(key, value, "the comment stands inside the quotes, so it is part of the name", right)
    elif re.search(r"\s", value):
        joined = ",".join(part for part in re.split(r"[\s,]+", value) if part)
        yield Fault(key, value, "a name has no blanks; several are joined by commas", f'{key} = "{joined}"')
    elif value.startswith("--") or "=" in value:
        yield Fault(key, value, "an option, and not its value", f'{key} = "{value.rpartition("=")[2]}"')


def nodes(key: str, value: str) -> Iterator[Fault]:
    """A list of nodes: brackets that close, with ranges of numbers in them, and no patterns."""
    if "/" in value:  # a file of names
        return
    why = _nodes_fault(value)
    if why:
        yield Fault(key, value, why, _right(key, value))


def _nodes_fault(value: str) -> str | None:
    if re.sub(r"[^\[\]]", "", value).replace("[]", "") or re.search(r"\][^\[]*\]|\[[^\]]*\[", value):
        return "its brackets do not match"
    for inside in re.findall(r"\[(.*?)\]", value):
        for part in inside.split(","):
            match = _RANGE.fullmatch(part.strip())
            if not match or (match[2] and int(match[2]) < int(match[1])):
                return f"[{inside}] is no list of numbers and ranges"
    if re.search(r"\][^\[,\s]+(?=[,\s]|$)", value):
        return "behind the last brackets of a name nothing may stand"
    odd = sorted(set(value) & set("*!?;{}()|&"))
    return f"a list of nodes has no {' '.join(odd)}; sbatch knows no patterns" if odd else None


def _right(key: str, value: str) -> str:
    braces = re.sub(r"\{(\d+)\.\.(\d+)\}", r"[\1-\2]", value)
    braces = re.sub(r"\{([\d,-]+)\}", r"[\1]", braces).replace(";", ",")
    if value.count("[") > value.count("]"):
        braces += "]"
    if braces != value and _nodes_fault(braces) is None:
        return f'{key} = "{braces}"'
    if value.startswith("!") and key == "nodelist":
        return f'exclude = "{value[1:]}"'
    return f"{key} {_NODES}; `sinfo -N` on the cluster lists the nodes"


def features(key: str, value: str) -> Iterator[Fault]:
    """`constraint`: brackets and parentheses that close."""
    for opened, closed in ("[]", "()"):
        if value.count(opened) != value.count(closed):
            yield Fault(key, value, f"its {opened}{closed} do not match", f'{key} = "a100|h100", "a100&ib", "[a|b]"')
            return


def variables(key: str, value: str) -> Iterator[Fault]:
    """`$NAME` stays as it is: an #SBATCH line is not read by a shell."""
    found = re.search(r"\$\{[^}]*\}?|\$[A-Za-z_]\w*", value)
    if found:
        why = f"an #SBATCH line expands no variables, so {found[0]} would stay as it stands"
        simple = re.fullmatch(r"\$\w+|\$\{\w+\}", found[0]) and re.fullmatch(r"[\w${}:,.-]+", value)
        name = value if simple else "VALUE"
        yield Fault(key, value, why, f"write the value out, or give it with the launch: run.env.{key}={name}")
