"""Parallel sizes against the world size and the model, which AutoModel 0.7.0 checks only after the nodes have started.

Sources in nemo_automodel: components/distributed/mesh_utils.py (meshes), recipes/_dist_utils.py (strategy),
components/distributed/parallelizer.py (heads), components/moe/parallelizer.py (experts).
"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import distributed, step_scheduler
from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel.distributed import Mesh
from automodel_launch.backends.automodel.keys import CP, DP, DP_REPLICATE, EP, PP, TP
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.plan.describe import describe, divisors, ranks, shortened
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def _mesh(plan: Plan) -> Mesh | None:
    return distributed.mesh(plan.config) if step_scheduler.is_given(plan.config) else None


def strategy(plan: Plan) -> Iterator[Finding]:
    """Each strategy knows some of the sizes only."""
    mesh = _mesh(plan)
    if mesh is None:
        return
    name = distributed.STRATEGIES.get(mesh.strategy)
    if name is None:
        return  # checks/schema.py reports it
    refused = {
        "ddp": {TP: mesh.tp_size, PP: mesh.pp_size, CP: mesh.cp_size, EP: mesh.ep_size},
        "mfsdp": {PP: mesh.pp_size, EP: mesh.ep_size},
    }.get(name, {})
    if name != "fsdp2":
        refused[DP_REPLICATE] = mesh.dp_replicate_size
    for key, size in refused.items():
        if size > 1:
            message = f"{describe(plan, key)}: strategy {mesh.strategy} does not have this kind of parallelism."
            yield Finding("error", "strategy", message, f"{key}=1, or {automodel.STRATEGY}=fsdp2")


def world(plan: Plan) -> Iterator[Finding]:
    """The sizes multiply to the world size."""
    mesh = _mesh(plan)
    if mesh is None or distributed.STRATEGIES.get(mesh.strategy) in (None, "ddp"):
        return
    product = _ranks_of_a_replica(mesh)
    sizes = f"tp {mesh.tp_size} x cp {mesh.cp_size} x pp {mesh.pp_size} = {product}"
    keys = ", ".join(describe(plan, key) for key, size in _sizes(mesh) if size > 1)
    if mesh.dp_size is not None:
        if mesh.dp_size * product != plan.world_size:
            fix = f"~{DP} (AutoModel derives it)"
            if plan.world_size % product == 0:
                fix += f", or {DP}={plan.world_size // product}"
            factors = sizes.rpartition(" = ")[0]
            message = (
                f"{describe(plan, DP)} x {factors} makes {mesh.dp_size * product} ranks, and the job has {ranks(plan)}."
            )
            yield Finding("error", "world-size", message, fix)
    elif plan.world_size % product:
        below = plan.world_size // product * product
        fits = " or ".join(str(size) for size in (below, below + product) if size)
        message = f"{keys}: {sizes} does not divide the {ranks(plan)}."
        fix = f"a world size of {fits} (nodes, nproc_per_node), or smaller sizes"
        yield Finding("error", "world-size", message, fix)


def _sizes(mesh: Mesh) -> tuple[tuple[str, int], ...]:
    return (TP, mesh.tp_size), (CP, mesh.cp_size), (PP, mesh.pp_size)


def _ranks_of_a_replica(mesh: Mesh) -> int:
    return mesh.tp_size * mesh.cp_size * mesh.pp_size


def _data_parallel(plan: Plan, mesh: Mesh) -> int:
    """As the config says, else what the world size leaves for it."""
    return mesh.dp_size or max(plan.world_size // _ranks_of_a_replica(mesh), 1)


def groups(plan: Plan) -> Iterator[Finding]:
    """Data-parallel ranks divide into replicas, and a pipeline stage's ranks into groups of experts."""
    mesh = _mesh(plan)
    if mesh is None or distributed.STRATEGIES.get(mesh.strategy) != "fsdp2":
        return
    if mesh.dp_size is None and plan.world_size % _ranks_of_a_replica(mesh):
        return
    dp = _data_parallel(plan, mesh)
    replicas = mesh.dp_replicate_size
    if replicas > 1 and (dp % replicas or replicas >= dp):
        valid = [str(size) for size in divisors(dp) if size < dp]
        message = f"{describe(plan, DP_REPLICATE)} must divide the {dp} data-parallel ranks, and be smaller."
        yield Finding("error", "dp-replicate", message, f"{DP_REPLICATE} = {', '.join(valid) or '1'}")
    stage, shape = dp * mesh.cp_size * mesh.tp_size, model_shape.read(plan.config, plan.visible)
    if stage % mesh.ep_size:
        factors = f"dp {dp} x cp {mesh.cp_size} x tp {mesh.tp_size}"
        message = f"{describe(plan, EP)} does not divide the {stage} ranks of {factors}."
        fix = f"{EP} = {shortened(_expert_sizes(stage, shape))}, or another number of nodes"
        yield Finding("error", "expert-parallel", message, fix)


def experts(plan: Plan) -> Iterator[Finding]:
    """There are experts, and they spread evenly."""
    mesh, shape = _mesh(plan), model_shape.read(plan.config, plan.visible)
    if mesh is None or shape is None or mesh.ep_size == 1:
        return
    if not shape.experts:
        message = f"{describe(plan, EP)}, and the model ({shape.where}, {shape.family}) has no experts."
        yield Finding("error", "expert-parallel", message, f"{EP}=1")
    elif shape.experts % mesh.ep_size:
        message = f"{describe(plan, EP)} does not divide the model's {shape.experts} experts ({shape.where})."
        valid = _expert_sizes(_data_parallel(plan, mesh) * mesh.cp_size * mesh.tp_size, shape)
        yield Finding("error", "expert-parallel", message, f"{EP} = {shortened(valid)}")


def _expert_sizes(stage: int, shape: model_shape.Shape | None) -> list[int]:
    """The sizes that divide both the ranks of a pipeline stage and the experts, where these are known."""
    experts = shape.experts if shape else 0
    return [size for size in divisors(stage) if not experts or experts % size == 0]


def heads(plan: Plan) -> Iterator[Finding]:
    """Tensor parallelism splits the heads of queries and of keys and values."""
    mesh, shape = _mesh(plan), model_shape.read(plan.config, plan.visible)
    if mesh is None or shape is None or mesh.tp_size == 1:
        return
    for name, number in (
        ("num_attention_heads", shape.get("num_attention_heads")),
        ("num_key_value_heads", shape.kv_heads),
    ):
        if number and number % mesh.tp_size:
            message = f"{describe(plan, TP)} does not divide the model's {name} = {number} ({shape.where})."
            yield Finding("error", "tensor-parallel", message, f"{TP} = {shortened(divisors(number))}")


CHECKS = (strategy, world, groups, experts, heads)
