"""Pipeline parallelism: its section, schedule, microbatches and stages.

Sources: nemo_automodel recipes/_dist_utils.py and recipes/llm/train_ft.py (section, microbatches),
components/distributed/pipelining/functional.py (calculate_virtual_stages), torch.distributed.pipelining.schedules.
"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import distributed, keys, loader, step_scheduler
from automodel_launch.backends.automodel.distributed import Mesh
from automodel_launch.backends.automodel.keys import PP
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, divisors, override, shortened
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed


def section(plan: Plan) -> Iterator[Finding]:
    """A pipeline has its section, a layer for each stage, and a microbatch for each stage."""
    mesh, steps = distributed.mesh(plan.config), step_scheduler.steps(plan.config)
    if mesh is None or steps is None:
        return
    if mesh.pp_size == 1:
        if mesh.pipeline:
            message = f"{keys.PIPELINE} is given, and {describe(plan, PP)}: AutoModel ignores it."
            yield Finding("note", "pipeline", message, f"{PP}=2 or more")
        return
    if mesh.pipeline is None:
        message = f"{describe(plan, PP)} needs the section {keys.PIPELINE}, which is missing."
        fix = f"+{keys.PIPELINE}={{pp_schedule: 1f1b, pp_microbatch_size: 1}}"
        yield Finding("error", "pipeline", message, fix)
        return
    unknown = list(_schedule(plan, mesh))
    yield from unknown
    yield from _microbatches(plan, mesh, steps.local_batch)
    if not unknown:  # how many stages a rank has depends on the schedule
        yield from _stages(plan, mesh)


def _schedule(plan: Plan, mesh: Mesh) -> Iterator[Finding]:
    stages, known = mesh.pipeline or {}, (*distributed.ONE_STAGE, *distributed.MORE_STAGES)
    name = stages.get("pp_schedule", "1f1b")
    if dotted.left_to_the_job(name):
        return
    if str(name).lower() not in {schedule.lower() for schedule in known}:
        near = completed(str(name), known)
        message = (
            f"{describe(plan, keys.PP_SCHEDULE)} is not a schedule of torch.distributed.pipelining, which has"
            f" {', '.join(known)}."
        )
        yield Finding("error", "pipeline", message, f"{keys.PP_SCHEDULE}={near or known[0]}")


def _microbatches(plan: Plan, mesh: Mesh, local: int) -> Iterator[Finding]:
    micro = loader.value(plan.config, keys.MICROBATCH)
    micro = 1 if micro is None else micro
    if dotted.left_to_the_job(micro):
        return
    key, batch = describe(plan, keys.MICROBATCH), describe(plan, keys.LOCAL_BATCH)
    if isinstance(micro, bool) or not isinstance(micro, int) or micro < 1:
        yield Finding("error", "pipeline", f"{key} is not a number of at least 1.", f"{keys.MICROBATCH}=1")
    elif local // micro < mesh.pp_size:
        message = (
            f"{batch} / {key} gives {local // micro} microbatch{'es' if local // micro != 1 else ''};"
            f" {describe(plan, PP)} needs at least as many as it has stages."
        )
        fix = override(plan, keys.LOCAL_BATCH, micro * mesh.pp_size)
        yield Finding("error", "pipeline", message, f"{fix}, or {keys.MICROBATCH}=1" if micro > 1 else fix)
    elif local % micro:
        message = f"{key} does not divide {batch}."
        yield Finding("error", "pipeline", message, f"{keys.MICROBATCH} = {shortened(divisors(local))}")


def _stages(plan: Plan, mesh: Mesh) -> Iterator[Finding]:
    shape = model_shape.read(plan.config, plan.visible)
    layers = shape.get("num_hidden_layers") if shape else None
    stages = mesh.pipeline or {}
    if shape is None or not layers or stages.get("module_fqns_per_model_part"):
        return
    if layers < mesh.pp_size * (1 if _one_stage(mesh) else 2):
        what = f"{layers} layer{'s' if layers > 1 else ''}"
        why = "a stage has at least one" if _one_stage(mesh) else "a rank has two stages, and each at least one"
        most = max(1, layers if _one_stage(mesh) else layers // 2)
        message = f"{describe(plan, PP)} is too much for the model's {what} ({shape.where}): {why}."
        yield Finding("error", "pipeline", message, f"{PP}={most}{' or less' if most > 1 else ''}")
        return
    each = loader.value(plan.config, keys.LAYERS_PER_STAGE)
    if not isinstance(each, int) or isinstance(each, bool) or each < 1:
        return
    number, key = -(-layers // each), describe(plan, keys.LAYERS_PER_STAGE)
    rounding = stages.get("round_virtual_stages_to_pp_multiple")
    if number % mesh.pp_size and rounding is None:
        message = f"{key} cuts {layers} layers into {number} stages, no multiple of {describe(plan, PP)}."
    else:
        above = -(-number // mesh.pp_size)
        found = _wrong_for_schedule(mesh, number // mesh.pp_size if rounding == "down" else above)
        if found is None:
            return
        message = (
            f"{key} cuts {layers} layers into {number} stages, and {describe(plan, keys.PP_SCHEDULE)} needs {found}."
        )
    fix = f"~{keys.LAYERS_PER_STAGE} (AutoModel splits evenly)"
    if _one_stage(mesh):
        fix = f"{keys.LAYERS_PER_STAGE}={-(-layers // mesh.pp_size)}, or {fix}"
    yield Finding("error", "pipeline", message, fix)


def _wrong_for_schedule(mesh: Mesh, each: int) -> str | None:
    """What the schedule needs, where `each` stages a rank are not that."""
    if _one_stage(mesh):
        return None if each == 1 else "one stage a rank"
    return None if each > 1 else "two stages a rank or more"


def _one_stage(mesh: Mesh) -> bool:
    stages = mesh.pipeline or {}
    name = str(stages.get("pp_schedule") or "1f1b").lower()
    return name in {known.lower() for known in distributed.ONE_STAGE}


CHECKS = (section,)
