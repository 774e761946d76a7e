"""What goes along with an exported checkpoint: a model card that says what it was trained on, and the whole config.

Both may be published, so directories of the cluster are left out of them: of a path its last part stays.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from automodel_launch import backends, contract, data_identity
from automodel_launch.config import yamlio
from automodel_launch.jobs import rundir
from automodel_launch.launch.checkpoints.listing import Kept, Row
from automodel_launch.report import differences, joining, reading
from automodel_launch.report.reading import RunFiles

CARD, CONFIG = "README.md", "training_config.yaml"
_LIBRARY = "@library"  # transformers or peft: recipes/checkpoints.py sees which
_TOKENS = "num_label_tokens"
_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_HEAD = 2**20  # bytes of rank 0's log in which versions are looked for
_SHOWN = 12  # files of data that are named


def texts(kept: Kept, row: Row) -> dict[str, str]:
    """File name -> text."""
    files = reading.read(kept.record, kept.place)
    plan = next((job.plan for job in reversed(files.jobs) if job.plan), {})
    written = plan.get("config")
    config = written if isinstance(written, dict) else {}
    return {CARD: _card(kept, row, files, plan, config), CONFIG: yamlio.dump(_without_places(config))}


def _card(kept: Kept, row: Row, files: RunFiles, plan: dict[str, Any], config: dict[str, Any]) -> str:
    base = _base(kept, config, plan)
    head = ["---", f"library_name: {_LIBRARY}"]
    head += [f"base_model: {base}"] if base and _HUB.fullmatch(base) else []
    head += ["tags:", "- automodel-launch", "---"]
    rows = [(label, value) for label, value in _training(kept, row, files, plan, base) if value]
    table = [f"| {label} | {_cell(value)} |" for label, value in rows]
    parts = [
        *head,
        "",
        f"# {kept.record.run_name}, step {row.step}",
        "",
        "Written by automodel-launch from the records of the training. Licence, intended use"
        " and limits are for whoever publishes it to say.",
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        *table,
        "",
        f"The whole configuration is in `{CONFIG}`; directories are left out of it.",
        "",
        *_data(kept, row),
        *_losses(kept, row),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _training(
    kept: Kept, row: Row, files: RunFiles, plan: dict[str, Any], base: str | None
) -> Iterator[tuple[str, str]]:
    record = kept.record
    steps = f"{row.step + 1:,}" + (f" of {record.max_steps:,}" if record.max_steps else "")
    changed = [f"{one['key']}={one['value']}" for one in differences.overridden(plan)]
    nodes, processes = plan.get("nodes"), plan.get("processes_per_node")
    yield "recipe, config", f"{record.recipe}, {record.config}"
    yield "changed on the command line", ", ".join(map(_shortened, changed))
    yield "begun with", _shortened(base) if base else "random weights, or not known"
    yield "steps", steps
    yield "phases of the data", "; ".join(_phases(kept, row, plan))
    yield "tokens", _tokens(files, row)
    yield "loss", _number(row.loss)
    yield "validation loss", _number(row.val_loss)
    yield "processes", f"{nodes} x {processes}" if nodes and processes else ""
    yield "image", str(plan.get("container_image") or "") if plan.get("mounts") else ""
    yield "versions", ", ".join(f"{name} {version}" for name, version in _versions(kept).items())
    yield "plan", str(record.plan_hash)


def _base(kept: Kept, config: dict[str, Any], plan: dict[str, Any]) -> str | None:
    """What it began with; of a checkpoint of ours the run and step."""
    origin = plan.get("origin")
    if isinstance(origin, dict) and "run_name" in origin:
        return f"run {origin['run_name']}, step {origin.get('step')}"
    backend = backends.known(kept.backend)
    return backend.begins_with(config) if backend else None


def _phases(kept: Kept, row: Row, plan: dict[str, Any]) -> Iterator[str]:
    """Those that have begun, the last one as far as it came."""
    backend, config = backends.known(kept.backend), plan.get("config")
    for name, first, last in backend.phases(config) if backend and isinstance(config, dict) else ():
        if first <= row.step:
            yield f"{name}: steps {first:,} to {min(last, row.step):,}"


def _tokens(files: RunFiles, row: Row) -> str:
    """Those that counted for the loss, of all steps up to it; empty where they were not logged for each."""
    joined = joining.join(files)
    if _TOKENS not in joined.steps.names:
        return ""
    wanted = [one for one in joined.kept() if joined.steps["step"][one] <= row.step]
    counts = [joined.steps[_TOKENS][one] for one in wanted]
    if len(counts) != row.step + 1 or any(math.isnan(count) for count in counts):
        return ""
    return f"{sum(counts):,.0f}"


def _versions(kept: Kept) -> dict[str, str]:
    found = kept.place.read(f"{kept.record.job_dir}/{contract.rank_log(0)}")
    backend = backends.known(kept.backend)
    return backend.versions(found[0][:_HEAD].decode("utf-8", "replace")) if found and backend else {}


def _data(kept: Kept, row: Row) -> Iterator[str]:
    """What it was trained on: of data that change in the course of the run those of the phases that it has come to."""
    known = rundir.data(kept.record.run_dir, kept.place)
    every, digest = known.get("rows"), known.get("digest")
    if not digest or not isinstance(every, list) or not every:
        return
    rows = data_identity.taken(every, row.step + 1)
    yield from ("## Data", "", f"{_count(rows)}.")
    of = "of the whole run, with data that come after this step" if len(rows) < len(every) else "of them"
    yield from (f"Identity {of}: `{digest}` (sizes and samples of every file).", "")
    for one in rows[:_SHOWN]:
        use = f" ({_cell(str(one[1]))})" if one[1] else ""
        yield f"- {_cell(posixpath.basename(str(one[0])))}{use}: {one[2]:,} bytes"
    if len(rows) > _SHOWN:
        yield f"- and {len(rows) - _SHOWN:,} more"
    yield ""


def _count(rows: list[Any]) -> str:
    return f"{len(rows):,} {'file' if len(rows) == 1 else 'files'} of {data_identity.size(rows):,} bytes in all"


def _losses(kept: Kept, row: Row) -> Iterator[str]:
    """Of the checkpoints up to this one."""
    told = [one for one in kept.complete if one.step <= row.step and (one.loss is not None or one.val_loss is not None)]
    if told:
        yield from ("## Losses at its checkpoints", "", "| step | training | validation |", "|---|---|---|")
        yield from (f"| {one.step} | {_number(one.loss)} | {_number(one.val_loss)} |" for one in told)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _cell(text: str) -> str:
    """Text of others, in a cell of a table: it neither ends the cell nor is markup."""
    shown = " ".join(text.split()).replace("`", "'").replace("|", "/")
    return f"`{shown}`" if shown else ""


def _shortened(text: str) -> str:
    """Without the directories of an absolute path in it."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\",:]+/)+([^\s/'\",:]+)", r".../\1", text)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return _shortened(value) if isinstance(value, str) else value
