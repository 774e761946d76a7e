"""Another backend has recipes for some models that scale further. Only a note: AutoModel is used all the same."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.backends import Model, Offer
from automodel_launch.backends.automodel import distributed, step_scheduler
from automodel_launch.backends.automodel.keys import EP, PRETRAINED
from automodel_launch.backends.automodel.model import parameters as model_parameters
from automodel_launch.backends.automodel.model import section
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.backends.hub import cache
from automodel_launch.plan.describe import amount, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# From here on a model's recipes in Megatron-Bridge use tensor, pipeline or expert parallelism over many nodes
# (llama3_70b: tp 8, pp 4, 32 GPUs); NeMo RL's guide draws the line between the two at 100 billion parameters.
RANKS = 64
PARAMETERS = 60 * 10**9
ALWAYS = 256  # ranks at which the communication of plain FSDP is felt with a smaller model too


def another(plan: Plan) -> Iterator[Finding]:
    """Many nodes, and a model that is split over them."""
    mesh = distributed.mesh(plan.config) if step_scheduler.is_given(plan.config) else None
    shape = model_shape.read(plan.config, plan.visible)
    if mesh is None or shape is None or plan.world_size < RANKS or plan.nodes < 2:
        return
    parameters = model_parameters.count(shape)
    sizes = {"tp": mesh.tp_size, "pp": mesh.pp_size, "ep": mesh.ep_size}
    split = [f"{name} {size}" for name, size in sizes.items() if size > 1]
    large = parameters is not None and parameters.total >= PARAMETERS
    wide = mesh.tp_size * mesh.pp_size > plan.processes_per_node or mesh.ep_size > plan.processes_per_node
    if not (large or wide or (split and plan.world_size >= ALWAYS)):
        return
    place = section.place(plan.config)
    hub = place[1] if place and not cache.is_path(place[1], plan.visible) else None
    model = Model(hub, shape.family, parameters.total if parameters else None)
    for framework, offer in backends.offers(plan.recipe, model):
        size = f", {amount(parameters.total)} parameters" if parameters else ""
        message = f"{shape.family} ({shape.where}{size}) on {', '.join([ranks(plan), *split])}: {framework.title} has"
        message += f" {offer.about}, laid out for tensor, pipeline and expert parallelism over many nodes."
        yield Finding("note", "other-backend", message, f"nothing has to change; python launch.py {offer.words}")


def offer(model: Model) -> Offer | None:
    """The default config with a model of the hub in it: pretraining that continues from the published weights."""
    if model.hub is None or model.finetunes:
        return None
    words = f"pretrain model.{PRETRAINED}={model.hub}"
    return Offer(words if model.experts else f"{words} {EP}=1", f"{model.hub}, from its published weights,")


CHECKS = (another,)
