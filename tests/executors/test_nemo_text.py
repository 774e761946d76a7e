"""Our writing of NeMo-Run's batch script, with NeMo-Run as the judge. tests/variety holds twenty whole launches."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.executors.slurm import nemo_text, script
from automodel_launch.plan.plan import Plan
from tests.executors.forms_tables import VALID
from tests.workbench import make_bench

CLUSTER = '[p]\nexecutor = "slurm"\nnodes = 2\ngpus_per_node = 8\nremote_job_dir = "/lustre/jobs"\n'
ODD = (
    "a b",
    "it's",
    '"',
    "$HOME",
    "${head_node_ip_var}",
    "$$",
    "{}",
    "{flags}",
    "{{ x }}",
    "{% raw %}",
    "ä€",
    "\\n",
    "a;b",
)
FIELDS: dict[str, tuple[Any, ...]] = {
    **{key: (None, *VALID[key]) for key in ("time", "mem", "qos", "constraint", "exclude", "gres", "account")},
    "partition": (None, *VALID["partition"]),
    "comment": (None, "", *ODD),
    "signal": (None, "USR1@600"),
    "exclusive": (None, True, False, "user"),
    "segment": (None, 2),
    "network": (None, "sn_all"),
    "nodes": (1, 2, 64),
    "gpus_per_node": (0, 8),
    "cpus_per_task": (None, 3),
    "srun_args": ((), ("--label",), ("--cpu-bind=cores", "--mpi=pmix"), ODD),
    "container_image": ("none", "none", "nvcr.io/nvidia/nemo:25.01", "$HOME/a.sqsh"),
    "container_runtime": ("pyxis", "pyxis", "apptainer"),
    "mounts": ((), ("/a:/b:ro", "~/c:/d"), ("$SCRATCH/x:/x",)),
    "container_mount_home": (None, True, False),
    "dependency": (None, "afterok:1"),
    "until": ("first-end", "done"),
    "additional_parameters": (
        {},
        {"mail_type": "END", "mail-user": "me@x", "get-user-env": True, "nice": 5, "hold": False, "wckey": "it's"},
        {"open-mode": "truncate", "open_mode": "truncate", "comment": "over", "gpu_bind": None, "begin": "now+1hour"},
    ),
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    bench = make_bench(tmp_path)
    bench.env(CLUSTER)
    return bench.plan(profile="p", environ={}, offline=True)


def test_it_is_nemo_runs_to_the_byte_for_values_of_every_kind(plan: Plan) -> None:
    assert nemo_text.stands_for_it(), "another NeMo-Run is installed: compare, then add its sources() to COMPARED"
    chosen = random.Random(19)
    for number in range(25):
        given = {key: chosen.choice(values) for key, values in FIELDS.items()}
        if given["container_image"] == "none" or given["container_runtime"] != "pyxis":
            given["container_mount_home"] = None
        tried = dataclasses.replace(
            plan, profile=plan.profile.model_copy(update=given), job_id=f"stub-t-0f.{number + 1}"
        )
        assert script.text(tried) == script.by_nemo_run(tried), given


def test_nemo_run_writes_it_itself_where_its_sources_are_others(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, made, by_nemo_run = script.text(plan), list[Plan](), script.by_nemo_run

    def watched(of: Plan) -> str:
        made.append(of)
        return by_nemo_run(of)

    monkeypatch.setattr(nemo_text, "SOURCES", nemo_text.SOURCES[1:])  # as a changed file would
    monkeypatch.setattr(script, "by_nemo_run", watched)
    nemo_text.stands_for_it.cache_clear()
    try:
        assert (script.text(plan), made) == (ours, [plan])
        monkeypatch.setattr(nemo_text, "SOURCES", ("core/gone.py",))
        assert nemo_text.sources() is None
    finally:
        nemo_text.stands_for_it.cache_clear()
