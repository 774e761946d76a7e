"""Token ids and positions against what the model has: an IndexError on a CPU, a device-side assert on a GPU.

What is read of the ids: data-prep's record of the tokenizer's highest id, which is certain, and of up to 64 shards a
few thousand ids from the start and the end. So a shard that another tokenizer made is nearly always found; a single id
that is too large, in the middle of a shard, is not: `data-prep inspect` reads them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets
from automodel_launch.backends.automodel.model import section
from automodel_launch.backends.automodel.model import shape as shape_
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.pairs import ITEM
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# Families with a table of positions; others compute a position's rotation, whatever it is.
TABLES = {"gpt2", "gpt_bigcode", "gpt_neo", "opt"}
_UINT16 = 2**16


def vocabulary(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Every id is below the model's vocab_size."""
    shape = _shape(plan, data)
    size = shape.get("vocab_size") if shape else None
    if shape is None or size is None:
        return
    where = f"the model has {_number(plan, shape, 'vocab_size')}"
    fix = "the tokenizer of this model for the data, or a larger vocab_size where it is trained from scratch"
    probed = [*data.answer.get("pairs", {}).items(), *data.answer.get("files", {}).items()]
    beyond = [(facts["high"], name) for name, facts in probed if facts.get("high", 0) >= size]
    if beyond:
        highest, name = max(beyond)
        more = f" ({len(beyond)} shards in all)" if len(beyond) > 1 else ""
        message = f"{name} holds the id {highest:,}{more}, and {where}."
        yield Finding("error", "vocabulary", message, fix)
        return
    for path, record in data.records:
        made = (record.get("tokenizer") or {}).get("vocab_size")
        if isinstance(made, int) and made > size:
            name = record["tokenizer"].get("name")
            message = f"{path} was made with {name}, whose ids go up to {made - 1:,}, and {where}."
            yield Finding("warning", "vocabulary", message, fix)
            return


def width(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Ids that do not fit into the type of a shard have been truncated to other ones."""
    most = [(record.get("tokenizer") or {}).get("vocab_size") or 0 for _, record in data.records]
    pairs = data.answer.get("pairs", {}).items()
    narrow = [name for name, facts in pairs if ITEM.get(facts.get("type", 0), 4) <= 2]
    if narrow and most and min(most) > _UINT16:
        message = f"{narrow[0]} has 2 bytes an id, and the tokenizer that the record names has {min(most):,} ids."
        yield Finding("error", "bad-shard", message, "prepare it again with data-prep")


def context(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Sequences are not longer than the positions that the model has."""
    shape = _shape(plan, data)
    most = shape.get("max_position_embeddings") if shape else None
    if shape is None or most is None:
        return
    for key, length in datasets.sequences(plan.config):
        if length <= most:
            continue
        limit = f"the model has {_number(plan, shape, 'max_position_embeddings', 'n_ctx', 'n_positions')}"
        if shape.family in TABLES:
            message = f"{describe(plan, key)}: {limit}, and no others."
            yield Finding("error", "context", message, f"{key}={most}")
        else:
            message = f"{describe(plan, key)}: {limit}, and was not trained for more."
            yield Finding("warning", "context", message, f"{key}={most}, or a rope_scaling that fits")
        return


def _shape(plan: Plan, data: DataFacts) -> Shape | None:
    """The model's numbers, also from a config.json on the cluster."""
    model = section.read(plan.config)
    loaded = data.about("folders", model.place).get("config") if model and model.place else None
    return shape_.read(plan.config, plan.visible, loaded if isinstance(loaded, dict) else None)


def _number(plan: Plan, shape: Shape, *names: str) -> str:
    """A number of the model, under the name that it has there, and where that is: a key of the config, or a file."""
    for name in names:
        key = f"{shape.where}.{name}"
        if dotted.get(plan.config, key) is not None:
            return describe(plan, key)
    return f"{names[0]} = {shape.get(names[0])} ({shape.where})"
