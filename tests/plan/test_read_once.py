"""A plan's shards may be thousands on a slow file system: they are read once for all that is asked of it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import backends
from automodel_launch.backends.data import probe
from automodel_launch.launch import checking
from tests.workbench import make_bench, write_pair, write_shard

MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
NANOGPT = "nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset"
IDS = [1, 2, 3] * 500


@pytest.mark.parametrize("form", [MEGATRON, NANOGPT])
def test_a_shard_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """For the run's name, the checks and the preview; again where it has changed."""
    if form == MEGATRON:
        shards = [f"{write_pair(tmp_path / f's{n}', IDS)}.idx" for n in range(3)]
        data = f"seq_length: 64, paths: [{', '.join(shards)}]"
    else:
        shards = [write_shard(tmp_path / f"s{n}.bin", IDS) for n in range(3)]
        data = f"seq_len: 64, file_pattern: {tmp_path}/s*.bin"
    opened, real = Counter[str](), os.open

    def counted(path: Any, *args: Any, **options: Any) -> int:
        opened[str(path)] += sys._getframe(1).f_globals["__name__"] == probe.__name__
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", counted)
    bench = make_bench(tmp_path).trains(own_recipe=True)
    plan = bench.planned(
        f"step_scheduler: {{max_steps: 2, global_batch_size: 8}}\ndataset: {{_target_: {form}, {data}}}\n"
    )

    def times_read() -> set[int]:
        checking.run(plan, offline=True)
        assert backends.of(plan.recipe).sizes(plan).data_tokens
        return {opened[path] for path in shards}

    once = 1 if form == MEGATRON else 2  # beside the header a few ids
    assert times_read() == {once}
    assert times_read() == {once}
    for path in shards:
        os.utime(path, (1.0, 1.0))
    assert times_read() == {2 * once}
