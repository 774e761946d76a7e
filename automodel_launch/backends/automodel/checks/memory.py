"""Does the model fit the profile's GPU: an estimate (docs/memory.md), and the nearest settings that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from automodel_launch.backends.automodel import datasets, distributed, evaluation, keys, loader, step_scheduler
from automodel_launch.backends.automodel.model import lora, memory, parallelism
from automodel_launch.backends.automodel.model import parameters as model_parameters
from automodel_launch.backends.automodel.model import section as section_
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.backends.automodel.model.memory import Estimate, Setting
from automodel_launch.backends.automodel.model.parameters import Parameters
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, divisors, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpu_models
from automodel_launch.remote.gpu_models import GIB, USABLE

_FILLING = ("gpipe", "loopedbfs")  # all forward passes of a call come first
_MOST_NODES = 64  # the largest multiple of the number of nodes that is tried


def fits(plan: Plan) -> Iterator[Finding]:
    """The estimate against the GPU that the profile names."""
    if plan.recipe.name == evaluation.RECIPE:  # which takes no step: the estimate is of a training
        return
    name = plan.profile.gpu
    if name is None or not step_scheduler.is_given(plan.config):
        return
    where = plan.profile_sources.get("gpu", plan.profile_name)
    capacity = gpu_models.memory(name)
    if capacity is None:
        message = f"gpu = {name!r} ({where}) is not a model that the memory check knows; nothing is estimated."
        yield Finding("note", "memory-unknown", message, f"one of {', '.join(gpu_models.MEMORY)}")
        return
    shape = model_shape.read(plan.config, plan.visible)
    parameters = model_parameters.count(shape) if shape else None
    if shape is None or parameters is None:
        yield _unknown(plan, shape)
        return
    if reason := _beyond(plan):
        yield Finding("note", "memory-unknown", f"the memory that the training takes is not estimated: {reason}.")
        return
    now = current(plan, shape, parameters)
    if now is None:
        return
    found = memory.estimate(shape, parameters, now)
    total, head = found.total / GIB, f"{amount(parameters.total)} parameters ({shape.where})"
    message = f"{head} need about {total:,.0f} GiB a GPU, and gpu = {name!r} ({where}) has {capacity}: {_parts(found)}."
    if found.total <= USABLE * capacity * GIB:
        yield Finding("note", "memory", message)
    else:
        options = list(nearest(plan, shape, parameters, now, USABLE * capacity * GIB))
        fix = "; or ".join(options[:3]) or "a larger GPU, more nodes, or distributed.tp_size and pp_size above 1"
        yield Finding("warning", "memory", message, fix)


def estimated(plan: Plan, shape: Shape, parameters: Parameters) -> Estimate | None:
    """The formula's estimate, whatever the GPU; None where a value is not known here."""
    now = None if _beyond(plan) else current(plan, shape, parameters)
    return memory.estimate(shape, parameters, now) if now else None


def _beyond(plan: Plan) -> str | None:
    """Why the formula is none for this training."""
    if loader.recipe_class(plan.config) == loader.DISTILLATION:
        return "a teacher is in it, too"
    if lora.is_given(plan.config) and plan.config.get("quantization") is not None:
        return "its frozen weights have four or eight bits"
    return None


def _unknown(plan: Plan, shape: Shape | None) -> Finding:
    if shape is not None:
        why = f"model_type {shape.family!r} ({shape.where}) is not a family whose parameters are counted"
        fix = f"counted: {', '.join(model_parameters.FAMILIES)}"
    else:
        section = section_.read(plan.config)
        place = f"{section.key} = {section.place}" if section and section.place else "the section model:"
        why = f"the config.json of {place} is not on this machine"
        fix = "hf download ID config.json puts it into the cache; or give a directory that holds it"
        if section is None or not section.place:
            why, fix = (
                f"{place} does not give the model's sizes",
                "sizes in model.config, or a directory's config.json",
            )
    return Finding("note", "memory-unknown", f"the memory that the model takes is not estimated: {why}.", fix)


def current(plan: Plan, shape: Shape, parameters: Parameters) -> Setting | None:
    """What the plan says; None where a value is not known here, or values are inconsistent (other checks report it)."""
    mesh, steps = distributed.mesh(plan.config), step_scheduler.steps(plan.config)
    sequence = datasets.sequence(plan.config)
    if mesh is None or steps is None or sequence is None or min(steps.local_batch, steps.global_batch, sequence[1]) < 1:
        return None
    layout = parallelism.layout(mesh, plan.world_size)
    if layout is None or mesh.strategy not in distributed.STRATEGIES:
        return None
    micro, splits, schedule = steps.local_batch, 1, None
    if layout.pp > 1:
        written = loader.value(plan.config, keys.MICROBATCH)
        micro = written if isinstance(written, int) and written > 0 else 1
        splits = max(1, steps.local_batch // micro)
        schedule = loader.value(plan.config, keys.PP_SCHEDULE)
    stored = memory.BYTES.get(section_.precision(plan.config) or shape.stored_as or "bfloat16", 4)
    if plan.world_size == 1 and not section_.is_fsdp2(plan.config):
        stored = 2
    computed, strategy = _computed(plan, stored), distributed.STRATEGIES[mesh.strategy]
    if lora.is_given(plan.config) and strategy == "fsdp2" and plan.world_size > 1:
        stored = min(stored, computed)  # prepare_frozen_parameters_for_sharding
    return Setting(
        layout=layout,
        strategy="single" if plan.world_size == 1 else strategy,
        sequence=sequence[1],
        micro=micro,
        micro_batches=max(1, steps.global_batch // (steps.local_batch * layout.dp)) * splits,
        pipelined=splits,
        fills=isinstance(schedule, str) and schedule.lower() in _FILLING,
        stored=stored,
        compute=computed,
        recompute=mesh.recompute,
        sequence_parallel=mesh.sequence_parallel,
        stays_gathered=None if mesh.reshard_after_forward is None else not mesh.reshard_after_forward,
        defers_gradients=mesh.defer_gradients,
        compiled=dotted.get(plan.config, keys.COMPILE) is True,
        full_logits=not section_.chunked_loss(plan.config),
        moments=memory.moments(section_.optimizer(plan.config)),
        trained=lora.share(plan.config, shape, parameters.total),
    )


def _computed(plan: Plan, stored: int) -> int:
    """Bytes in layers; of one process in the weights' own type, unless autocast gives another."""
    if plan.world_size == 1 and dotted.get(plan.config, keys.AUTOCAST) is None:
        return stored
    return memory.BYTES.get(section_.compute_precision(plan.config, plan.world_size), 2)


def nearest(plan: Plan, shape: Shape, parameters: Parameters, now: Setting, room: float) -> Iterator[str]:
    """Settings that fit, those that change least first, as overrides with their estimates."""
    changes: list[tuple[list[str], Setting]] = [([], now)]
    if now.recompute != "full":
        changes.append(([override(plan, keys.RECOMPUTE, _full(plan))], replace(now, recompute="full")))
    defer = override(plan, keys.DEFER, "false")
    if now.defers_gradients and now.micro_batches > 1 and now.strategy == "fsdp2":
        changes += [([*texts, defer], replace(s, defers_gradients=False)) for texts, s in changes]
    single: list[tuple[list[str], Setting]] = []
    if now.layout.pp == 1:
        for texts, s in changes:
            single += [
                ([*texts, override(plan, keys.LOCAL_BATCH, n)], _smaller(s, n))
                for n in reversed(divisors(now.micro)[:-1])
            ]
    else:  # fewer micro-batches in a call of the schedule, at least as many as there are stages
        fewer = [n for n in reversed(divisors(now.pipelined)[:-1]) if n >= now.layout.pp]
        for texts, s in changes:
            single += [
                ([*texts, override(plan, keys.LOCAL_BATCH, s.micro * n)], replace(s, pipelined=n)) for n in fewer
            ]
    candidates = sorted([*changes[1:], *single], key=lambda change: len(change[0]))
    found = [(texts, s) for texts, s in candidates if memory.estimate(shape, parameters, s).total <= room]
    if not found:
        found = _more_nodes(plan, shape, parameters, [*changes, *single], room)
    for texts, s in found:
        yield f"{' '.join(texts)} (about {memory.estimate(shape, parameters, s).total / GIB:,.0f} GiB)"


def _full(plan: Plan) -> str:
    """The value for full recomputation; an override keeps the kind of what it replaces."""
    return "full" if isinstance(dotted.get(plan.config, keys.RECOMPUTE), str) else "true"


def _smaller(s: Setting, micro: int) -> Setting:
    return replace(s, micro=micro, micro_batches=s.micro_batches * s.micro // micro)


def _more_nodes(
    plan: Plan, shape: Shape, parameters: Parameters, changes: list[tuple[list[str], Setting]], room: float
) -> list[tuple[list[str], Setting]]:
    """The fewest nodes, with and without the other changes, at which the global batch still divides."""
    mesh = distributed.mesh(plan.config)
    steps = step_scheduler.steps(plan.config)
    if mesh is None or steps is None or mesh.dp_size is not None or changes[0][1].strategy == "ddp":
        return []
    for times in (2, 4, 8, 16, 32, _MOST_NODES):
        layout = parallelism.layout(mesh, plan.world_size * times)
        found = []
        for texts, s in changes:
            if layout is None or steps.global_batch % (s.micro * layout.dp):
                continue
            wider = replace(s, layout=layout, micro_batches=max(1, s.micro_batches // times))
            if memory.estimate(shape, parameters, wider).total <= room:
                found.append(([f"run.env.nodes={plan.nodes * times}", *texts], wider))
        if found:
            return sorted(found, key=lambda change: len(change[0]))
    return []


def _parts(found: Estimate) -> str:
    named = (
        ("weights", found.weights),
        ("gradients", found.gradients),
        ("optimizer", found.optimizer),
        ("gathered weights", found.gathered),
        ("activations", found.activations),
        ("logits", found.logits),
        ("CUDA and NCCL", found.overhead),
    )
    return ", ".join(f"{name} {size / GIB:,.1f}" for name, size in named if size >= GIB / 20)


CHECKS = (fits,)
