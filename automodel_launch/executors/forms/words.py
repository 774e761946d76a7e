"""Words of a command line: options of srun and Docker, each one word, and programs that are given with arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from automodel_launch.executors.forms.fault import Fault
from automodel_launch.profile import sbatch_options

_SPLIT = re.compile(r"(--[A-Za-z][\w-]*)\s+(\S.*)", re.DOTALL)  # an option and its value, or the next option
_NEXT = re.compile(r"\s+--([a-z][a-z-]*)(?=[=\s]|$)")
_SRUN = ("exact", "kill-on-bad-exit", "label", "mpi", "overlap", "unbuffered")  # srun's own
_STARTERS = ("env", "uv", "conda", "mamba", "micromamba", "poetry", "pixi", "srun", "apptainer", "singularity", "exec")


def faults(key: str, words: Iterable[str]) -> Iterator[Fault]:
    """Several words in one: each is carried as it is written, so that the program sees one strange option."""
    for word in words:
        match = _SPLIT.fullmatch(word)
        found = [name for name in _NEXT.findall(word) if name in _SRUN or sbatch_options.known(name)]
        if not word.startswith("--") or not (match or found):
            continue
        parts = _parts(word)
        written = ", ".join(f'"{part}"' for part in parts)
        yield Fault(key, word, "several words in one", f"a string for each: {key} = [{written}]")


def _parts(word: str) -> list[str]:
    """`--a b --c=d e` -> `--a=b`, `--c=d e`."""
    options = re.split(r"\s+(?=--[A-Za-z])", word)
    return [re.sub(r"^(--[A-Za-z][\w-]*)\s+", r"\1=", option.strip()) for option in options]


def program(key: str, value: str) -> Iterator[Fault]:
    """A program with arguments: it is started as one word, so blanks are part of its name."""
    if has_arguments(value):
        first, *rest = value.split()
        fix = "the path of the Python itself; variables and setup_lines can do what the rest does"
        if first.rpartition("/")[2] == "env" and len(rest) == 1:
            fix = f'{key} = "{rest[0]}"'
        elif first.rpartition("/")[2].startswith("python"):
            fix = f'{key} = "{first}"; options of Python are variables: env_vars = {{PYTHONUNBUFFERED = "1"}}'
        yield Fault(key, value, "a program with arguments, and it takes the program alone", fix)


def has_arguments(value: str) -> bool:
    """The value of `python` is more than a program; a path may have blanks."""
    first, *rest = value.split() or [""]
    starter = first.rpartition("/")[2] in _STARTERS
    return bool(rest) and ("/" not in first or starter or any(word.startswith("-") for word in rest))
