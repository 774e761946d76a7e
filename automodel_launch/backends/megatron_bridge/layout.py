"""World size and parallel sizes -> data-parallel ranks (ConfigContainer.get_data_parallel_size)."""

from __future__ import annotations

from dataclasses import dataclass

from automodel_launch.backends.megatron_bridge import keys
from automodel_launch.backends.megatron_bridge.settings import Settings


@dataclass(frozen=True)
class Sizes:
    """Parallel sizes of a model, each at least 1."""

    tp: int
    pp: int
    cp: int
    ep: int
    etp: int | None  # None: as tp

    @property
    def model(self) -> int:
        """Ranks of one copy of the model."""
        return self.tp * self.pp * self.cp


def sizes(settings: Settings) -> Sizes | None:
    """The sizes; None where one is not known, or no size at all."""
    if settings.recipe is None and not all(settings.written(key) for key in (keys.TP, keys.PP, keys.CP)):
        return None
    found = [settings.number(key) for key in (keys.TP, keys.PP, keys.CP, keys.EP)]
    if not settings.known(keys.TP, keys.PP, keys.CP, keys.EP) or any(one is not None and one < 1 for one in found):
        return None
    if any(one is None and settings.value(key) is not None for one, key in zip(found, _NAMES, strict=True)):
        return None
    tp, pp, cp, ep = (one or 1 for one in found)
    return Sizes(tp, pp, cp, ep, settings.number(keys.ETP))


_NAMES = (keys.TP, keys.PP, keys.CP, keys.EP)


def data_parallel(settings: Settings, world: int) -> int | None:
    """Ranks that see different samples; None where the sizes do not divide the world size, or are not known."""
    found = sizes(settings)
    return None if found is None or world % found.model else world // found.model
