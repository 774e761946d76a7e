"""Words of a command line: options of srun and Docker, each one word, and programs that are given with arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from automodel_launch.executors.forms.fault import Fault
from automodel_launch.profile import sbatch_options

_SPLIT = re.compile(r"(--[A-Za-z][\w-]*)\s+(\S.*)", re.DOTALL)  # an option and its value, or the next option
_SHORT = re.compile(r"(-[A-Za-z])\s+(\S.*)", re.DOTALL)
_NEXT = re.compile(r"\s+--([a-z][a-z-]*)(?=[=\s]|$)")
_LETTERS = re.compile(r"-([A-Za-z]\d*|[a-z]+)(\s+-{1,2}[A-Za-z]\S*)+")  # `-c8 -v`, `-it --rm`
_ANY_TEXT = re.compile(r"--(comment|extra|env|label|annotation|health-cmd|job-name)=")
_DOCKER = sbatch_options.names("""
    cap-add cpus device entrypoint env gpus hostname init ipc label memory mount name network pid privileged rm
    security-opt shm-size ulimit user volume
""")
_NAMES = {"srun_args": sbatch_options.SRUN, "docker_args": _DOCKER}
_STARTERS = ("env", "uv", "conda", "mamba", "micromamba", "poetry", "pixi", "srun", "apptainer", "singularity", "exec")


def faults(key: str, words: Iterable[str]) -> Iterator[Fault]:
    """Several words in one: each is carried as it is written, so that the program sees one strange option.

    The value of an option may be any text, and a word without a dash is the value of the one before it.
    """
    for word in words:
        if not _several(key, word):
            continue
        written = ", ".join(f'"{part}"' for part in _parts(word))
        yield Fault(key, word, "several words in one", f"a string for each: {key} = [{written}]")


def _several(key: str, word: str) -> bool:
    if not word.startswith("--"):
        number = key == "srun_args" and word[2:].strip().isdigit()  # srun passes over the blank
        return bool(_LETTERS.fullmatch(word) or (_SHORT.fullmatch(word) and not number))
    if _SPLIT.fullmatch(word):
        return True
    return not _ANY_TEXT.match(word) and any(name in _NAMES[key] for name in _NEXT.findall(word))


def _parts(word: str) -> list[str]:
    """`--a b --c=d e` -> `--a=b`, `--c=d e`; `-c8 -v` -> `-c8`, `-v`; `-v x` -> `-v`, `x`."""
    if not word.startswith("--"):
        return word.split() if _LETTERS.fullmatch(word) else word.split(maxsplit=1)
    options = re.split(r"\s+(?=--[A-Za-z])", word)
    return [re.sub(r"^(--[A-Za-z][\w-]*)\s+", r"\1=", option.strip()) for option in options]


def program(key: str, value: str) -> Iterator[Fault]:
    """A program as no shell reads it: it is started as one word, so blanks, `~` and `$` are part of its name."""
    if found := re.match(r"~[^/]*(?=/|$)", value) or re.search(r"\$\w+|\$\{[^}]*\}?", value):
        right = f'{key} = "/home/NAME/venv/bin/python", or a name that is found in PATH'
        yield Fault(key, value, f"no shell expands {found[0]} here", f"the whole path: {right}")
    elif value != value.strip():
        yield Fault(key, value, "a blank at the beginning or end is part of the name", f'{key} = "{value.strip()}"')
    elif has_arguments(value):
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
