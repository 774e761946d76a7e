"""Variables of the profile at which a job ends, or that say nothing to it, are found before the queue."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from automodel_launch.checks import variables
from automodel_launch.plan.finding import Finding
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _found(bench: Bench, variable: dict[str, str], keys: str = "") -> list[Finding]:
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in variable.items())
    bench.env(f'[c]\nexecutor = "local"\nenv_vars = {{{table}}}\n{keys}')
    plan = bench.plan(profile="c")
    return [finding for check in variables.CHECKS for finding in check(plan)]


@pytest.mark.parametrize(
    ("name", "value", "level", "words"),
    [
        ("PATH", "/opt/x:${PATH}", "error", ("${PATH} would be part", "export PATH=/opt/x:${PATH}")),
        ("LD_LIBRARY_PATH", "/opt/lib:$LD_LIBRARY_PATH", "warning", ("exactly as written",)),
        ("PYTHONPATH", "~/src", "warning", ("~/ would be part",)),
        ("PYTHONHASHSEED", "abc", "error", ("no Python starts with it", "integer in range", 'PYTHONHASHSEED = "0"')),
        ("PYTHONUTF8", "yes", "error", ("invalid PYTHONUTF8",)),
        ("PYTHONMALLOC", "fast", "error", ("unknown allocator",)),
        ("PYTHONIOENCODING", "utf9", "error", ("codec",)),
        ("PYTHONHOME", "/nowhere", "error", ("no such directory", "take it out")),
        ("PYTHONINSPECT", "1", "error", ("goes on to its prompt", "take it out")),
        ("PYTHONPLATLIBDIR", "nowhere", "error", ("finds none of its own modules", "take it out")),
        ("LOGLEVEL", "info", "error", ("in capitals", 'LOGLEVEL = "INFO"')),
        ("LOGLEVEL", "10", "error", ("in capitals",)),
        ("TORCH_LOGS", "+dynammo,guards", "error", ("no log 'dynammo'", '"+dynamo,guards"')),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "10s", "error", ("whole number of seconds", '"60"')),
        ("TORCH_DISTRIBUTED_DEBUG", "detial", "error", ("OFF, INFO, DETAIL", '"DETAIL"')),
        ("PYTORCH_ALLOC_CONF", "expandable_segments", "error", ("no setting", "NAME:VALUE")),
        ("PYTORCH_ALLOC_CONF", "expandable_segments:true", "error", ('"expandable_segments:True"',)),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:4", "error", ("above 20", '"max_split_size_mb:128"')),
        (
            "PYTORCH_CUDA_ALLOC_CONF",
            "backend:native,expandable_segment:True",
            "error",
            ("'expandable_segment'", '"backend:native,expandable_segments:True"'),
        ),
    ],
)
def test_a_value_at_which_the_job_ends_is_found(
    bench: Bench, name: str, value: str, level: str, words: tuple[str, ...]
) -> None:
    (finding,) = _found(bench, {name: value})
    assert (finding.level, finding.code, "env.toml [c]" in finding.message) == (level, "bad-variable", True)
    text = f"{finding.message} {finding.fix}"
    assert [word for word in words if word not in text] == []


def test_values_that_are_taken_are_no_finding(bench: Bench) -> None:
    several = "expandable_segments:True, roundup_power2_divisions:[256:1,512:2,>:8], garbage_collection_threshold:0.8"
    given = {"PATH": "/opt/x/bin:/usr/bin:/bin", "TORCH_DISTRIBUTED_DEBUG": "info", "PYTORCH_ALLOC_CONF": several}
    given |= {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync,a_setting_of_another_release:1", "PS1": "$ "}
    given |= {"LOGLEVEL": "WARN", "TORCH_LOGS": "+dynamo,-torch._inductor,all", "HF_HUB_ETAG_TIMEOUT": "30"}
    given |= {"PYTHONHOME": sys.prefix, "PYTHONINSPECT": "", "PYTHONHASHSEED": "random"}
    assert _found(bench, given) == []


def test_what_keeps_torch_and_transformers_from_being_imported(bench: Bench) -> None:
    """Only where the recipe imports them."""
    bad = {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"}
    assert _found(bench, bad) == []
    bench.trains(own_recipe=True)
    assert [(one.level, one.fix) for one in _found(bench, bad)] == [
        ("error", 'env_vars.PYTHONWARNINGS = "default"'),
        ("error", 'env_vars.PYTHONOPTIMIZE = "1"'),
    ]
    assert len(_found(bench, {"PYTHONWARNINGS": "error::DeprecationWarning"})) == 1
    for value in ("error::FutureWarning", "error,ignore", "error:my message", "ignore", "default"):
        assert _found(bench, {"PYTHONWARNINGS": value, "PYTHONOPTIMIZE": "1", "PYTHONPLATLIBDIR": "lib64"}) == []


def test_variables_of_torchrun_have_no_effect(bench: Bench) -> None:
    bench.trains(own_recipe=True)
    (finding,) = _found(bench, {"RANK": "0", "MASTER_ADDR": "h"})
    assert (finding.level, finding.code) == ("warning", "no-effect") and "RANK, MASTER_ADDR" in finding.message
