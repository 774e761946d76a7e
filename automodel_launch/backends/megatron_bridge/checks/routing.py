"""A model and a scale for which another backend would do as well, with less. Only a note, with the command."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.backends import Model
from automodel_launch.backends.megatron_bridge import keys, layout, model, settings
from automodel_launch.plan.describe import amount, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

PARAMETERS = 10 * 10**9  # up to which one node holds a model's weights, gradients and moments without any split of it


def another(plan: Plan) -> Iterator[Finding]:
    """One node, a model of the hub that is not split over GPUs, and no checkpoints of Megatron's asked for."""
    known = settings.of(plan.config)
    sizes, count = layout.sizes(known), model.parameters(known, plan.visible)
    if known.recipe is None or known.recipe.hub is None or sizes is None or model.replaced(known) or plan.nodes > 1:
        return
    if sizes.model > 1 or sizes.ep > 1 or count is None or count > PARAMETERS:
        return
    experts = bool(known.value(keys.EXPERTS))
    wanted = Model(known.recipe.hub, parameters=count, experts=experts, finetunes=known.pretrains is False)
    for framework, offer in backends.offers(plan.recipe, wanted):
        message = f"{known.recipe.name} ({amount(count)} parameters) on {ranks(plan)} is not split over GPUs:"
        message += f" {framework.title} trains {offer.about} as well, from and to Hugging Face's format."
        fix = f"nothing has to change; python launch.py {offer.words}"
        yield Finding("note", "other-backend", message, fix)


CHECKS = (another,)
