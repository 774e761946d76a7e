"""World size and parallel sizes -> how many ranks share what, as AutoModel 0.7.0 builds its meshes.

Source: nemo_automodel/components/distributed/mesh_utils.py, _create_fsdp2_device_mesh and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from automodel_launch.backends.automodel.distributed import Mesh


@dataclass(frozen=True)
class Layout:
    """Sizes of the groups that ranks form; all at least 1.

    Attributes:
        dp: data-parallel ranks, those that see different samples.
        shards: ranks over which FSDP2 spreads all parameters but the experts (dp_shard * cp).
        expert_shards: ranks over which the experts of one expert-parallel rank are spread (ep_shard).
    """

    dp: int
    tp: int
    cp: int
    pp: int
    ep: int
    shards: int
    expert_shards: int


def layout(mesh: Mesh, world: int) -> Layout | None:
    """The layout; None where the sizes are inconsistent, which checks/parallel.py reports in detail."""
    model_ranks = mesh.tp_size * mesh.cp_size * mesh.pp_size
    if mesh.dp_size is None and world % model_ranks:
        return None
    dp = mesh.dp_size or world // model_ranks
    stage = dp * mesh.cp_size * mesh.tp_size
    if dp * model_ranks != world or dp % mesh.dp_replicate_size or stage % mesh.ep_size:
        return None
    return Layout(
        dp=dp,
        tp=mesh.tp_size,
        cp=mesh.cp_size,
        pp=mesh.pp_size,
        ep=mesh.ep_size,
        shards=dp // mesh.dp_replicate_size * mesh.cp_size,
        expert_shards=stage // mesh.ep_size,
    )
