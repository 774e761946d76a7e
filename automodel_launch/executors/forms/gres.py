"""`gres` and the options that count GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault

_NAME = re.compile(r"[A-Za-z_][\w.+-]*")
_GPUS = re.compile(r"([A-Za-z_][\w.-]*[:=])?\d+")
_NUMBER = re.compile(r"[0-9]+[KMGTP]?", re.IGNORECASE)
_MISSPELT = re.compile(r"gpus?", re.IGNORECASE)
_MODEL = re.compile(r"(a10|a30|a40|a100|h100|h200|b100|b200|gb200|gh200|l4|l40s?|v100|t4|rtx)\w*", re.IGNORECASE)
_FORM = "NAME[:TYPE][:NUMBER], joined by commas"


def faults(key: str, value: str) -> Iterator[Fault]:
    """What is no list of generic resources; which of them a cluster has only itself can tell."""
    if value.lower() == "none" or "$" in value:
        return
    for item in filter(None, value.split(",")):  # sbatch passes over a comma too many
        parts = [part.strip() for part in re.split("[:=/]", item.strip().removeprefix("gres:"))]
        name, rest = parts[0], parts[1:]
        if name.isdigit():
            yield Fault(key, value, f"{item!r} names no resource; sbatch takes {_FORM}", f'{key} = "gpu:{name}"')
        elif not _NAME.fullmatch(name) or not all(rest) or any(re.search(r"[\s;*]", part) for part in rest):
            yield Fault(key, value, f"{item!r} is no resource; sbatch takes {_FORM}", f'{key} = "gpu:8", "gpu:h100:8"')
        elif item != item.strip():
            right = ",".join(part.strip() for part in value.split(","))
            yield Fault(key, value, f"the blank is part of {item!r}", f'{key} = "{right}"')
        elif len(rest) > 2 or (len(rest) == 2 and not _NUMBER.fullmatch(rest[1])):
            kinds = [part for part in rest if not _NUMBER.fullmatch(part)]
            right = ":".join([name, *kinds[:1], next((part for part in rest if _NUMBER.fullmatch(part)), "8")])
            yield Fault(key, value, f"{item!r} is no resource; sbatch takes {_FORM}", f'{key} = "{right}"')
        elif name != "gpu" and _MISSPELT.fullmatch(name):
            right = _with(key, value, name, "gpu")
            yield Fault(key, value, f"the resource is called gpu, not {name}", right, "warning")
        elif _MODEL.fullmatch(name):
            why = f"{name} is a type of GPU, and stands behind gpu:"
            yield Fault(key, value, why, _with(key, value, name, f"gpu:{name}"), "warning")
        else:
            continue
        return


def _with(key: str, value: str, name: str, right: str) -> str:
    return f'{key} = "{value.replace(name, right, 1)}"'


def count_of_gpus(value: str) -> int | None:
    """GPUs of a node that `gres` asks for: `gpu:h100:2` is 2, `gpu` 1; None where it names none, or no number."""
    if value.lower() == "none":
        return 0
    counts = []
    for item in value.split(","):
        name, *rest = re.split("[:=/]", item.strip().removeprefix("gres:"))
        if name == "gpu":
            has_number = bool(rest) and _NUMBER.fullmatch(rest[-1]) is not None
            counts.append(rest[-1] if has_number else "1" if len(rest) < 2 else "?")
    return sum(map(int, counts)) if counts and all(map(str.isdigit, counts)) else None


def of_a_step(word: str, nodes: int) -> int | None:
    """GPUs that a node's one task has by one of srun's options; None where it says nothing about them."""
    name, equals, value = word.partition("=")
    if not equals:
        return None
    if name == "--gres":
        return count_of_gpus(value)
    number = value.rpartition(":")[2]
    if name not in ("--gpus", "--gpus-per-node", "--gpus-per-task") or not number.isdigit():
        return None
    return int(number) // nodes if name == "--gpus" else int(number)


def gpus(key: str, value: str) -> Iterator[Fault]:
    """`--gpus` and its like: TYPE:NUMBER, without the word gpu."""
    for item in value.split(","):
        bare = re.sub(r"^(gres:)?gpus?[:=]", "", item.strip(), flags=re.IGNORECASE)
        if bare != item.strip() and _GPUS.fullmatch(bare):
            right = f'{key} = "{bare}"'
            yield Fault(key, value, "gpu: is for gres; here it would be a type of GPU", right, "warning")
        elif not (_GPUS.fullmatch(item.strip()) or _NAME.fullmatch(item)):
            yield Fault(key, value, f"{item!r}: expected [TYPE:]NUMBER", f'{key} = "8" or "h100:8"')
