"""Conversations for fine-tuning in files of the run's own: `dataset_root` with training, validation and test.jsonl."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.data import rows
from automodel_launch.backends.megatron_bridge import keys, settings
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_ROOT = "dataset.dataset_root"
_SWITCHES = {"training": None, "validation": "dataset.do_validation", "test": "dataset.do_test"}


def whole_batches(plan: Plan) -> Iterator[Finding]:
    """Of less than a global batch no batch is made, and Megatron-Bridge 0.3.1 looks for one for ever: its cyclic_iter
    goes round an empty loader (bridge/data/loaders.py)."""
    known = settings.of(plan.config)
    root, total = known.value(_ROOT), known.number(keys.GLOBAL_BATCH)
    if not isinstance(root, str) or not total or known.value("dataset.dataloader_type") not in (None, "batch"):
        return
    if known.value("dataset.packed_sequence_specs") or known.number("dataset.max_train_samples"):
        return  # how many samples there are is not the number of rows
    for name, switch in _SWITCHES.items():
        if switch is None or _is_read(known, switch):
            found = rows.count(plan, f"{root.rstrip('/')}/{name}.jsonl", total)
            if found and found < total:
                yield _hangs(plan, known, f"{name}.jsonl has {found} {'row' if found == 1 else 'rows'}", switch)


def _is_read(known: Settings, switch: str) -> bool:
    """Validation and test, the last after the training's end, take `eval_iters` batches each."""
    rounds = known.number(keys.EVAL_ITERS)
    return known.value(switch) is not False and rounds != 0


def _hangs(plan: Plan, known: Settings, what: str, switch: str | None) -> Finding:
    message = f"{describe(plan, _ROOT)}: {what}, less than {told(plan, known, keys.GLOBAL_BATCH)}: Megatron-Bridge"
    message += " waits for a whole batch for ever."
    return Finding("error", "no-whole-batch", message, "more rows" + (f", or {switch}=false" if switch else ""))


CHECKS = (whole_batches,)
