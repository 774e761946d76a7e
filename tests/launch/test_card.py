"""The model card of a checkpoint in the midst of a run whose data change: what it was trained on, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs.records import Record
from automodel_launch.launch.checkpoints import card
from automodel_launch.launch.checkpoints.listing import COMPLETE, Kept, Row
from automodel_launch.remote.filesystem import LOCAL

PHASES = {
    "web": {"steps": 6, "paths": "/d/web"},
    "better": {"steps": 3, "paths": "/d/better"},
    "end": {"paths": "/d/e"},
}


def _card(root: Path, step: int) -> str:
    config = {
        "step_scheduler": {"max_steps": 12, "global_batch_size": 2},
        "dataset": {"seq_length": 8, "phases": PHASES},
    }
    for name, told in (("x.1/plan.json", {"config": config}), ("x/data.json", {"digest": "d" * 64, "rows": ROWS})):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(told))
    words: dict[str, Any] = dict.fromkeys(("recipe", "config", "profile", "mode", "plan_hash"), "x")
    words |= {"job_id": "x.1", "run_name": "x", "executor": "local", "submitted": 0.0}
    record = Record(**words, job_dir=str(root / "x.1"), run_dir=str(root / "x"))
    row = Row(f"epoch_0_step_{step}", step, COMPLETE, 1, 1.0, 2.0, None, (), (), (), ())
    kept = Kept(record, str(root / "x"), None, contract.AUTOMODEL, LOCAL, root, (row,), None)
    return card.texts(kept, row)[card.CARD]


ROWS = [
    ["/d/web", "train 1", 1000, 100, "a", 0],
    ["/d/better", "train 1", 30, 3, "b", 6],
    ["/d/e", "train 1", 5, 1, "c", 9],
]


def test_it_lists_the_phases_that_had_steps(tmp_path: Path) -> None:
    first, second, last = (_card(tmp_path, step) for step in (5, 6, 11))
    assert "| phases of the data | `web: steps 0 to 5` |" in first
    assert "web" in first and "better" not in first and "1 file of 1,100 bytes" in first
    assert "Identity of the whole run, with data that come after this step: `ddd" in first
    assert "`web: steps 0 to 5; better: steps 6 to 6`" in second and "2 files of 1,133 bytes" in second
    assert "`web: steps 0 to 5; better: steps 6 to 8; end: steps 9 to 11`" in last and "3 files" in last
    assert "Identity of them: `ddd" in last and contract.RUN_DIR_VAR not in last
