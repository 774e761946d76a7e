"""What makes two launches one run: what is learnt, not for how long, nor how often it saves, validates and logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from automodel_launch import backends
from automodel_launch.backends import Backend
from automodel_launch.config import merge, yamlio
from automodel_launch.config.dotted import get, has, leaves
from automodel_launch.config.envscope import EnvScope
from automodel_launch.frozen import thaw
from automodel_launch.jobs import rundir
from automodel_launch.plan import naming
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import FileSystem

_ONCE = 0.99  # of a blend's parts half a percent more is taken than is asked for
# Stands for the values of keys that are no part of it, so that what follows them is the same, too; nobody writes it.
_ANY = 86_028_121


def of(
    layered: merge.MergedConfig, backend: Backend, draft: Plan, run: Mapping[str, Any], scope: EnvScope
) -> dict[str, Any]:
    """`draft.trained` without the keys of its pace, and with one value in all that is written in terms of them.

    A length on which the order of the samples depends stays in it, unless the data are read once at most.
    """
    trained = thaw(draft.trained)
    pace = backend.pace(trained)
    keys = [*pace.free, *(pace.bound if pace.bound and _read_once(backend, draft) else ())]
    free = [key for key in keys if has(trained, key)]
    if not free:
        return dict(trained)
    found = layered.with_values(dict.fromkeys(free, _ANY), run, scope) if _are_named(free, layered) else None
    identity: dict[str, Any] = yamlio.json_value(trained if found is None else found)  # a copy
    for key in free:
        above, _, leaf = key.rpartition(".")
        section = get(identity, above) if above else identity
        if isinstance(section, dict):
            section.pop(leaf, None)
    return identity


def _are_named(keys: list[str], layered: merge.MergedConfig) -> bool:
    """Whether any value may be written in terms of one of the keys: to resolve a config once more takes its time."""
    names = [key.rpartition(".")[2] for key in keys]
    written = (value for _, value in leaves(layered.data) if isinstance(value, str) and "${" in value)
    return any(name in value for value in written for name in names)


def _read_once(backend: Backend, draft: Plan) -> bool:
    """Whether no part of the data is read a second time: of data whose identity is known, as they may be made yet."""
    epochs = backend.sizes(draft).epochs if draft.data.get("digest") else None
    return epochs is not None and epochs <= _ONCE


def began_otherwise(plan: Plan) -> bool:
    """Whether its run began with something else to learn; a length counts where nothing tells how many steps it is."""
    changed = rundir.differences(plan.run_dir, plan.trained, plan.place)
    return bool(changed) and (
        backends.of(plan.recipe).max_steps(plan.config) is None or not plan.pace.issuperset(changed)
    )


def run_name(
    parts: tuple[str, str, str | None],
    identity: dict[str, Any],
    trained: dict[str, Any],
    digest: str | None,
    present: tuple[str, FileSystem, Collection[str]],
    others: dict[str, str] | None = None,
) -> str:
    """The run's name; `parts` are recipe, config and prefix, `present` the job root, its file system and its names.

    `others`: see naming.

    A run that an earlier release has begun, under the name of all of `trained`, keeps that.
    """
    recipe, config, prefix = parts
    name = naming.run_name(recipe, config, identity, digest, prefix, others)
    root, place, names = present
    former = naming.run_name(recipe, config, trained, digest, prefix)
    if name not in names and former in names and rundir.has_begun(f"{root}/{former}", place):
        return former
    return name
