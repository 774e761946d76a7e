"""The curves of a run as the data of a page: thinned, by step, time and tokens."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Iterator, Sequence

from automodel_launch.report import curves, utilization
from automodel_launch.report.joining import Joined
from automodel_launch.report.reading import Json

CHARTS = ("loss", "tps", "mfu", "grad_norm", "lr", "mem_gib")
_TOKENS = "num_label_tokens"  # of a step, where the backend logs it
_ZERO_IS_NONE = ("mem_gib",)  # a CPU's memory is logged as zero
Tokens = Sequence[float] | None  # up to each step that counts


def of(joined: Joined, kept: Sequence[int], evaluations: Sequence[Json] = ()) -> dict[str, list[Json]]:
    """All charts by name; `kept` are the rows that count, `evaluations` of checkpoints as the run's files tell them."""
    tokens = _tokens(joined, kept)
    found = {name: list(_curves(joined, kept, name, tokens)) for name in CHARTS}
    found["loss"] += [_validation(joined, kept, name, tokens) for name in joined.validations]
    found["loss"] += list(_evaluations(joined, kept, evaluations, tokens))
    return found


def not_finite(joined: Joined, kept: Sequence[int]) -> Json:
    """Steps whose loss was no finite number."""
    losses, steps = joined.steps["loss"], joined.steps["step"]
    found = [int(steps[row]) for row in kept if math.isnan(losses[row])]
    return {"count": len(found), "first": found[:5]}


def _curves(joined: Joined, kept: Sequence[int], name: str, tokens: Tokens) -> Iterator[Json]:
    steps = joined.steps
    column = utilization.column(joined) if name == "mfu" else steps[name]
    finite = array("q", (index for index, row in enumerate(kept) if not math.isnan(column[row])))
    values = array("d", (column[kept[index]] for index in finite))
    if not values or (name in _ZERO_IS_NONE and not any(values)):
        return
    x = array("d", (steps["step"][kept[index]] for index in finite))
    kinds: dict[str, Sequence[float]] = {"raw": values}
    if name == "loss" and len(values) > 2:
        kinds["smooth"] = curves.smoothed(values)
    for kind, y in kinds.items():
        shown = curves.thinned(x, y)
        yield {
            "kind": kind,
            "label": "",
            "step": [int(x[point]) for point in shown],
            "time": [steps["time"][kept[finite[point]]] for point in shown],
            "tokens": [tokens[finite[point]] for point in shown] if tokens else None,
            "value": [y[point] for point in shown],
        }


def _validation(joined: Joined, kept: Sequence[int], name: str, tokens: Tokens) -> Json:
    columns = joined.validations[name]
    rows = [row for row in joined.last_validations(name) if not math.isnan(columns["val_loss"][row])]
    x, y = [columns["step"][row] for row in rows], [columns["val_loss"][row] for row in rows]
    shown = curves.thinned(x, y)
    wanted = {x[point] for point in shown}
    until = (
        {joined.steps["step"][row]: tokens[i] for i, row in enumerate(kept) if joined.steps["step"][row] in wanted}
        if tokens
        else {}
    )
    return {
        "kind": "validation",
        "label": "" if name == "default" else name,
        "step": [int(x[point]) for point in shown],
        "time": [columns["time"][rows[point]] for point in shown],
        "tokens": [until.get(x[point]) for point in shown] if tokens else None,
        "value": [y[point] for point in shown],
    }


def _evaluations(joined: Joined, kept: Sequence[int], told: Sequence[Json], tokens: Tokens) -> Iterator[Json]:
    """A curve for each held-out data set, by the steps of its checkpoints, and when these were trained."""
    step_of = joined.steps["step"].__getitem__
    by_data: dict[tuple[str, str], list[Json]] = {}
    for one in told:
        by_data.setdefault((one["name"], one["data"]), []).append(one)
    names = [name for name, _ in by_data]
    for (name, data), of_data in by_data.items():
        rows = [(one, at) for one in of_data if (at := bisect.bisect_right(kept, one["step"], key=step_of) - 1) >= 0]
        yield {
            "kind": "evaluation",
            "label": " ".join(filter(None, ("" if name == "default" else name, data if names.count(name) > 1 else ""))),
            "step": [one["step"] for one, _ in rows],
            "time": [joined.steps["time"][kept[at]] for _, at in rows],
            "tokens": [tokens[at] for _, at in rows] if tokens else None,
            "value": [one["loss"] for one, _ in rows],
        }


def _tokens(joined: Joined, kept: Sequence[int]) -> Tokens:
    """None where they were not logged."""
    if _TOKENS not in joined.steps.names:
        return None
    column, total, found = joined.steps[_TOKENS], 0.0, array("d")
    for row in kept:
        total += 0.0 if math.isnan(column[row]) else column[row]
        found.append(total)
    return found
