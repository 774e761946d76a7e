"""`srun_args`: options of srun for the launcher's one step, that starts an agent on each node.

The first word that is no option would be the program that srun starts, and some options make another step of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from automodel_launch.executors.forms.fault import Fault
from automodel_launch.profile import sbatch_options
from automodel_launch.suggest import nearest

_LONG = re.compile(r"--([A-Za-z][\w-]*)(=.*)?", re.DOTALL)
_SHORT = re.compile(r"-[A-Za-z].*", re.DOTALL)
_LETTERS = {"D": "chdir", "e": "error", "h": "help", "N": "nodes", "n": "ntasks", "o": "output"}
_LETTERS |= {"V": "version", "w": "nodelist"}
_LETTERS_VALUED = frozenset("AaBbCcDdeFGiJLMmNnopPqrStTWwx")
_LETTERS_EITHER = frozenset("IKk")  # what follows in the same word is the value
# srun(1); `q` and `v` alone are short for the first two, `off` is an older name of `none`
_BINDINGS = (
    *("quiet", "verbose", "q", "v", "none", "no", "n", "off", "rank", "map_cpu", "mask_cpu", "rank_ldom", "map_ldom"),
    *("mask_ldom", "sockets", "socket", "cores", "core", "threads", "thread", "ldoms", "ldom", "boards", "board"),
    *("y", "yes", "one_thread"),
)
_REPLACED = {
    **dict.fromkeys(("ntasks", "ntasks-per-node", "ntasks-per-gpu"), "the launcher starts one task a node"),
    **dict.fromkeys(("nodes", "nodelist"), "the step has all nodes of the job, and the profile has a key for them"),
    **dict.fromkeys(("output", "error"), "the launcher reads the job's log where it writes it itself"),
    "chdir": "the launcher sets the step's directory itself",
    "export": "the launcher passes the job's environment on; env_vars are the profile's variables",
    "jobid": "the step belongs to the job that starts it",
    "multi-prog": "srun would read the agent's own file as a list of programs",
    "pty": "a step with a terminal has one task, and no log",
    **dict.fromkeys(("help", "usage", "version", "test-only"), "srun would start nothing"),
}
_KEYS = {"nodes": "nodes = ...", "nodelist": "nodelist = ...", "export": "env_vars = {NAME = ...}"}
_KEYS |= {"container-image": "container_image = ...", "container-workdir": "container_workdir = ..."}


def faults(words: Sequence[str], container: bool) -> Iterator[Fault]:
    """Words that are no options, and options that replace the launcher's own; `container`: srun starts an image."""
    may_be_value = must_be_value = False
    for word in words:
        if must_be_value or (may_be_value and not word.startswith("-")):
            may_be_value = must_be_value = False
            continue
        long, may_be_value = _LONG.fullmatch(word), False
        if long:
            names = [sbatch_options.full(long[1], sbatch_options.SRUN)]
            must_be_value = not long[2] and names[0] in sbatch_options.SRUN_VALUED
            may_be_value = not long[2] and names[0] not in sbatch_options.SRUN  # a plug-in's
        elif _SHORT.fullmatch(word):
            names, must_be_value = _of_letters(word[1:])
        else:
            yield Fault("srun_args", word, *_no_option(word))
            return
        for name in names:
            if why := _why(name, container):
                yield Fault("srun_args", word, why, _KEYS.get(name, "take it out of srun_args"))
        if long and long[2]:
            yield from _value(word, names[0], long[2][1:])


def _value(word: str, name: str, value: str) -> Iterator[Fault]:
    """Values at which srun itself stops: sbatch, which is asked before, does not see them."""
    if name == "mpi" and value == "list":
        yield Fault("srun_args", word, "srun would list its plug-ins, and start nothing", "--mpi=none, or none of it")
    if name != "cpu-bind":
        return
    listed = False
    for part in value.lower().split(","):
        kind, colon, _ = part.partition(":")
        if listed and re.fullmatch(r"(0x)?[0-9a-f]+(\*\d+)?", part):
            continue  # the next mask, or CPU, of the list
        listed = bool(colon)
        if kind == "help":
            yield Fault("srun_args", word, "srun would print its help, and start nothing", "take it out of srun_args")
        elif kind not in _BINDINGS:
            near = nearest(kind, _BINDINGS)
            fix = f"--cpu-bind={near}" if near else f"values: {', '.join(_BINDINGS)}"
            yield Fault("srun_args", word, f"srun has no binding {kind!r}", fix)


def _of_letters(text: str) -> tuple[list[str], bool]:
    """The options of `-lvn4` that matter here, and whether the last one's value is the next word."""
    names = []
    for place, letter in enumerate(text):
        names += [_LETTERS[letter]] if letter in _LETTERS else []
        if letter in _LETTERS_VALUED:
            return names, place == len(text) - 1
        if letter in _LETTERS_EITHER:
            break
    return names, False


def _why(name: str, container: bool) -> str | None:
    if container and name in ("container-image", "container-workdir"):
        return "the launcher gives srun the image and its directory"
    return _REPLACED.get(name)


def _no_option(word: str) -> tuple[str, str]:
    """Why, and what to write."""
    name = word.partition("=")[0].strip()
    if sbatch_options.full(name, sbatch_options.SRUN) in sbatch_options.SRUN:
        return "an option without its dashes, so srun would start it as the program", f'srun_args = ["--{word}"]'
    return "no option, so srun would start it instead of the agent", "options only: what runs is the launcher's"
