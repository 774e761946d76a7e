"""`additional_parameters`: options of sbatch by their names, and the forms of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from automodel_launch.executors.forms import choices as words_of
from automodel_launch.executors.forms import dependencies, gres, names, sizes, times
from automodel_launch.executors.forms.fault import Fault
from automodel_launch.profile import sbatch_options
from automodel_launch.suggest import alike, nearest

_Form = Callable[[str, str], Iterator[Fault]]
FORMS: dict[str, tuple[_Form, ...]] = {
    **dict.fromkeys(("time", "time-min"), (times.faults,)),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu", "tmp"), (sizes.faults,)),
    **dict.fromkeys(("gpus", "gpus-per-socket", "gpus-per-task"), (gres.gpus,)),
    **dict.fromkeys(("account", "partition", "qos", "reservation"), (names.one_word, names.variables)),
    **dict.fromkeys(("nodelist", "exclude"), (names.nodes, names.variables)),
    "gres": (gres.faults, names.variables),
    "dependency": (dependencies.faults,),
    "begin": (words_of.begin,),
    "hint": (words_of.hint,),
    "distribution": (words_of.distribution,),
    "constraint": (names.features, names.variables),
}
_CHOICES = {
    "exclusive": ("user", "mcs", "topo"),
    "kill-on-invalid-dep": ("yes", "no"),
    "mail-type": (
        *("NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT", "TIME_LIMIT"),
        *("TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS"),
    ),
}
_LISTS = ("mail-type",)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
ONE_OF_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")


def choices(key: str, value: str) -> Iterator[Fault]:
    """A value that is none of the few that there are; `key` ends with the option's name."""
    name = sbatch_options.full(key.rpartition(".")[2])
    allowed = _CHOICES.get(name, ())
    given = [word.strip() for word in value.split(",")] if name in _LISTS else [value]
    wrong = [word for word in given if word.lower() not in {other.lower() for other in allowed}]
    if not allowed or not wrong:
        return
    if name == "exclusive" and value.lower() in (*_TRUE, *_FALSE):
        yield Fault(key, value, "a string", f"{key} = {str(value.lower() in _TRUE).lower()}, without quotes")
        return
    near = nearest(wrong[0], allowed)
    right = f'{key} = "{near}"; ' if near else ""
    yield Fault(key, value, f"{wrong[0]!r} is not one of its values", f"{right}values: {', '.join(allowed)}")


def faults(values: Mapping[str, object], written: Mapping[str, object]) -> Iterator[Fault]:
    """Of the values of `additional_parameters`; `written` are the profile's own keys that are sbatch's options, too."""
    for name, value in values.items():
        yield from _value(f"additional_parameters.{name}", sbatch_options.full(name), value)
    whole = {sbatch_options.full(name): name for name, value in values.items() if value is not False}
    given = [name for name in ONE_OF_MEMORY if written.get(name) is not None or name in whole]
    if len(given) > 1:
        key = next(f"additional_parameters.{short}" for name, short in whole.items() if name in given)
        why = f"{', '.join(given)} exclude each other, and sbatch takes one of them"
        yield Fault(key, values[key.partition(".")[2]], why, f"leave {' or '.join(given)} out")


def _value(key: str, name: str, value: object) -> Iterator[Fault]:
    short = f'"{name}"'
    if value is False:  # left out
        return
    if name in sbatch_options.FLAGS and value is not True:
        right = f"{short} = {str(str(value).lower() not in _FALSE).lower()}, or leave it out"
        yield Fault(key, value, f"--{name} takes no value", right)
    elif name in sbatch_options.VALUED and value is True:
        yield Fault(key, value, f"--{name} needs a value", f"{short} = ...")
    elif name in sbatch_options.NUMBERS and not str(value).isdigit():
        yield Fault(key, value, f"--{name} takes a whole number", f"{short} = 8")
    elif isinstance(value, str):
        for form in (*FORMS.get(name, ()), choices):
            yield from form(key, value)


def unknown(values: Mapping[str, object], there: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """Options that no sbatch is known to have, and that are not among those of the cluster's own (`there`).

    A misspelt one is an error; another may be that of a plug-in, which only the cluster can tell, and has where `there`
    is not empty.
    """
    for name, value in values.items():
        if value is False or sbatch_options.known(name) or name in there:
            continue
        key, options = f"additional_parameters.{name}", sbatch_options.KNOWN | there
        if name in sbatch_options.NEMO_RUN:
            why = "a field of NeMo-Run's SlurmExecutor, which sbatch has no option for"
            yield Fault(key, value, why, "take it out")
        elif (near := nearest(name, sorted(options))) and alike(name, near):
            why = f"sbatch has no option --{name}. Did you mean --{near}?"
            yield Fault(key, value, why, f'"{near}" = ...')
        elif there:
            why = f"neither the cluster's sbatch nor any that is known here has an option --{name}"
            yield Fault(key, value, why, "take it out")
        else:
            why = f"--{name} is no option of sbatch that is known here; a plug-in of the cluster may bring it"
            why += f" (known: --{near})" if near else ""
            fix = "`sbatch --help` on the cluster lists its options; without --offline it is asked"
            yield Fault(key, value, why, fix, "warning")
