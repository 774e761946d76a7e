"""`--mpi` of `srun_args`: srun names its plug-ins, and sbatch, which is asked before, does not look at the option."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results
from automodel_launch.suggest import nearest

_ASKED = "mpi"
_LISTS = "types are..."
_OF_SLURM = re.compile(r"none|openmpi|pmi2|pmix(_v\d+)?|cray_shasta|lam|mpich\w*|mvapich")  # of any version


def asked(plan: Plan) -> dict[str, str]:
    """Questions to the cluster, asked in one round trip with the others."""
    return {_ASKED: "srun --mpi=list"} if _wanted(plan) else {}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answers: an error where no srun has the plug-in, else nodes may have what is not here."""
    wanted = _wanted(plan)
    _, lists, listed = answers[_ASKED].text.partition(_LISTS) if wanted else ("", "", "")
    names = sorted({*re.findall(r"\w+", listed.replace("specific pmix plugin versions available", ""))} - {"srun"})
    if not wanted or not lists or wanted in names:
        return
    told = f"srun_args = --mpi={wanted} ({plan.source('srun_args')}): srun there has"
    has = f"{', '.join(names)}, and no {wanted!r}"
    near = nearest(wanted, names)
    fix = f"--mpi={near}, or none of it: training has no use for MPI" if near else "leave it out: training needs no MPI"
    if _OF_SLURM.fullmatch(wanted):
        yield Finding("warning", "bad-form", f"{told} {has}; where nodes lack it, too, the step does not start.", fix)
    else:
        yield Finding("error", "bad-form", f"{told} {has}; the step would not start.", fix)


def _wanted(plan: Plan) -> str | None:
    words = [*plan.profile.srun_args]
    after = (words[n + 1] for n, word in enumerate(words[:-1]) if word == "--mpi")
    given = (word.partition("=")[2] for word in words if word.startswith("--mpi="))
    return next((value for value in (*given, *after) if value and value != "list"), None)
