"""Writes the launcher's own estimates into docs/models.md and configs: python -m scripts.make_models_table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from automodel_launch import backends
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpu_models

DOCUMENT = Path(__file__).parent.parent / "docs" / "models.md"
CONFIGS = Path(__file__).parent.parent / "configs" / "pretrain"
_BEGIN, _END = "<!-- begin: scripts/make_models_table.py -->\n", "<!-- end -->"
_ESTIMATE = "# Estimated: "
_COLUMNS = ("config", "parameters", "hardware", "tokens a step", "tokens", "GiB a GPU", "GPU-hours")
_HEAD = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|\n"


def names() -> list[str]:
    """Configs whose sizes are known, without the quickstart's."""
    from tests.recipes import shrunk

    return [name for name in shrunk.names() if name not in ("tiny", "custom-model")]


def replaced(text: str, plans: Mapping[str, Plan]) -> str:
    """The document with its table made anew."""
    before, _, rest = text.partition(_BEGIN)
    table = _HEAD + "".join(_row(name, plan) for name, plan in plans.items())
    return f"{before}{_BEGIN}{table}{_END}{rest.partition(_END)[2]}"


def head(text: str, plan: Plan) -> str:
    """A config with its second line made anew."""
    first, _, rest = text.partition("\n")
    rest = rest.partition("\n")[2] if rest.startswith(_ESTIMATE) else rest
    sizes = backends.of(plan.recipe).sizes(plan)
    told = f"{_count(sizes.tokens_per_step)} tokens a step, {_memory(plan)} GiB a GPU, {_hours(plan)} GPU-hours"
    return f"{first}\n{_ESTIMATE}{told} (docs/models.md).\n{rest}"


def _memory(plan: Plan) -> str:
    return f"{((backends.of(plan.recipe).sizes(plan).memory or 0) + gpu_models.RUNTIME) / gpu_models.GIB:.0f}"


def _hours(plan: Plan) -> str:
    return f"{float(f'{backends.of(plan.recipe).sizes(plan).gpu_hours or 0:.2g}'):,g}"


def _row(name: str, plan: Plan) -> str:
    sizes = backends.of(plan.recipe).sizes(plan)
    hardware = f"{plan.nodes} x {plan.processes_per_node} {plan.profile.gpu}"
    cells = (f"`{name}`", _count(sizes.parameters), hardware, _count(sizes.tokens_per_step), _count(sizes.tokens))
    return f"| {' | '.join((*cells, _memory(plan), _hours(plan)))} |\n"


def _count(number: int | None) -> str:
    """1.24 billion as `1.24 B`."""
    value = float(number or 0)
    return f"{value / 1e9:.3g} B" if value >= 0.9995e9 else f"{value / 1e6:.3g} M"


def main() -> None:
    """Write it."""
    from tests.recipes.test_pretrain_models import on_h100

    with tempfile.TemporaryDirectory() as folder:
        plans = {name: on_h100(name, Path(folder)) for name in names()}
        DOCUMENT.write_text(replaced(DOCUMENT.read_text(), plans))
    for name, plan in plans.items():
        path = CONFIGS / f"{name}.yaml"
        path.write_text(head(path.read_text(), plan))


if __name__ == "__main__":
    main()
