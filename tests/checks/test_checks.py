"""Findings: what is known to go wrong before anything is submitted, each with what mends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding, machine
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, write_pair, write_shard

ROOT = Path(__file__).parents[2]
MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
NANOGPT = "nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _found(plan: Plan, code: str) -> list[Finding]:
    return [finding for finding in checks.run(plan) if finding.code == code]


def _one(plan: Plan, code: str, *words: str) -> Finding:
    found = _found(plan, code)
    assert len(found) == 1, checks.run(plan)
    text = f"{found[0].message} {found[0].fix}"
    assert found[0].fix
    for word in words:
        assert word in text
    return found[0]


def _errors(plan: Plan) -> list[Finding]:
    return [finding for finding in checks.run(plan) if finding.level == "error"]


def _data(bench: Bench, value: Any, target: str = MEGATRON, key: str = "paths") -> Plan:
    needed = {"splits_to_build": "train"} if target == MEGATRON else {"seq_len": "${oc.env:SLURM_NNODES}"}
    return bench.planned(json.dumps({"dataset": {"_target_": target, key: value, **needed}}))


def _shard(folder: Path, name: str) -> str:
    return write_pair(folder / name, [1, 2, 3], [4, 5])


def test_a_plain_plan_has_no_errors(bench: Bench) -> None:
    assert _errors(bench.plan()) == []


def test_errors_come_first(bench: Bench) -> None:
    bench.env('mounts = ["/a:/a"]\nenv = ["NOT_SET_ANYWHERE"]\n')
    levels = [finding.level for finding in checks.run(bench.planned("a: $HOME\n"))]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert set(levels) == {"error", "warning", "note"}


# --- data


def test_whole_shards_are_fine(bench: Bench, tmp_path: Path) -> None:
    one, two = _shard(tmp_path, "one"), _shard(tmp_path, "two words")
    for value in (one, [one, two], ["0.3", one, "0.7", two], {"train": [one], "valid": [two]}):
        assert _errors(_data(bench, value)) == []
    (tmp_path / "blend.json").write_text(json.dumps({"train": ["1.0", one], "validation": [two]}))
    assert _errors(_data(bench, str(tmp_path / "blend.json"))) == []


def test_missing_and_empty_shards(bench: Bench, tmp_path: Path) -> None:
    _one(_data(bench, str(tmp_path / "no")), "no-data", "dataset.paths", "stub/t.yaml:1", "no.bin", "data-prep")
    for end in ("bin", "idx"):
        (tmp_path / f"empty.{end}").write_bytes(b"")
    _one(_data(bench, [str(tmp_path / "empty")]), "no-data", "empty.bin", "is empty")
    one = _shard(tmp_path, "one")
    (tmp_path / "one.idx").unlink()
    _one(_data(bench, one), "no-data", "one.idx")


def test_a_blend_that_names_missing_files(bench: Bench, tmp_path: Path) -> None:
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps({"train": ["0.5", _shard(tmp_path, "a"), "0.5", str(tmp_path / "gone")]}))
    _one(_data(bench, str(blend)), "no-data", str(blend), "train", "gone.bin")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSON"),
        ("", "JSON"),
        ("5", ""),
        ("{}", ""),
        ("[]", ""),
        ('{"trian": ["a"]}', "trian"),
        ('{"train": []}', "empty"),
    ],
)
def test_a_blend_that_is_none(bench: Bench, tmp_path: Path, text: str, word: str) -> None:
    blend = tmp_path / "blend.json"
    blend.write_text(text)
    _one(_data(bench, str(blend)), "bad-blend", str(blend), word)


def test_a_split_that_automodel_would_take_letter_by_letter(bench: Bench, tmp_path: Path) -> None:
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps({"train": _shard(tmp_path, "a")}))
    _one(_data(bench, str(blend)), "bad-blend", "train", "list")


def test_a_blend_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    _one(_data(bench, str(tmp_path / "blend.json")), "no-data", "blend.json", "no such file", "data-prep")


@pytest.mark.parametrize("value", [[], {}, None, ""])
def test_no_data_at_all(bench: Bench, value: Any) -> None:
    assert _errors(_data(bench, value))


def test_relative_paths_do_not_reach_the_job(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job runs in a directory of its own; what lies in this one is not there."""
    monkeypatch.chdir(tmp_path)
    _shard(tmp_path, "one")
    (tmp_path / "blend.json").write_text(json.dumps(["one"]))
    for value in ("one", ["1.0", "one"], {"train": ["one"]}, "blend.json", str(tmp_path / "blend.json")):
        _one(_data(bench, value), "relative-path", str(tmp_path))
    (tmp_path / "a.bin").write_bytes(b"x" * 2000)
    _one(_data(bench, "*.bin", NANOGPT, "file_pattern"), "relative-path", str(tmp_path))


def test_nanogpt_shards(bench: Bench, tmp_path: Path) -> None:
    pattern = str(tmp_path / "*.bin")
    _one(_data(bench, pattern, NANOGPT, "file_pattern"), "no-data", pattern, "dataset.file_pattern")
    (tmp_path / "a.bin").write_bytes(b"x" * 1024)
    _one(_data(bench, pattern, NANOGPT, "file_pattern"), "no-data", "a.bin", "no tokens")
    write_shard(tmp_path / "a.bin", [1])
    assert _errors(_data(bench, pattern, NANOGPT, "file_pattern")) == []


def test_nanogpt_takes_a_list_of_files(bench: Bench, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [1, 2])
    assert _errors(_data(bench, [str(tmp_path / "a.bin")], NANOGPT, "file_pattern")) == []
    assert _errors(_data(bench, [str(tmp_path / "b.bin")], NANOGPT, "file_pattern"))


def test_data_that_only_the_job_knows_is_left_to_it(bench: Bench) -> None:
    assert _errors(_data(bench, "${oc.env:SLURM_TMPDIR}/x")) == []


@pytest.mark.parametrize("key", ["tokenizer", "dataset"])
def test_a_tokenizer_directory_that_is_none(bench: Bench, tmp_path: Path, key: str) -> None:
    def plan(value: str) -> Plan:
        section: Any = value if key == "tokenizer" else {"tokenizer": {"pretrained_model_name_or_path": value}}
        return bench.planned(json.dumps({key: section}))

    _one(plan(str(tmp_path / "no")), "no-tokenizer", str(tmp_path / "no"), "stub/t.yaml:1")
    _one(plan("~/no-such-tokenizer"), "no-tokenizer", "no such directory")
    (tmp_path / "tok").mkdir()
    _one(plan(str(tmp_path / "tok")), "no-tokenizer", "tokenizer.json")
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    assert _errors(plan(str(tmp_path / "tok"))) == []
    assert _errors(plan("Qwen/Qwen3-30B-A3B")) == []
    assert _errors(plan("x" * 300)) == []


# --- config


@pytest.mark.parametrize("value", ["$HOME/x", "a$B", "\\${HOME}", "${oc.env:ODD}"])
def test_a_dollar_that_automodel_would_read(bench: Bench, value: str) -> None:
    bench.environ = {"ODD": "pa$$word${x}"}
    _one(bench.planned(f"a: 1\nb: '{value}'\n"), "dollar", "b = ", "stub/t.yaml:2")


@pytest.mark.parametrize("value", ["$", "5$", "$5", "${oc.env:SLURM_JOB_ID}", "a $ b"])
def test_a_dollar_that_is_left_alone(bench: Bench, value: str) -> None:
    assert _found(bench.planned(f"b: '{value}'\n"), "dollar") == []


def test_what_is_kept_for_the_job_is_said(bench: Bench) -> None:
    plan = bench.planned("a: 1\nb: {c: '${oc.env:SLURM_JOB_ID}'}\n")
    found = _found(plan, "kept-for-the-job")
    assert [(f.level, "SLURM_JOB_ID" in f.message, "b.c" in f.message) for f in found] == [("note", True, True)]


def test_a_run_that_goes_on_is_said(bench: Bench) -> None:
    plan = bench.planned("checkpoint: {checkpoint_dir: '${run.dir}/checkpoints'}\n")
    assert _found(plan, "resumes") == []
    (Path(plan.run_dir) / "checkpoints" / "epoch_0_step_49").mkdir(parents=True)
    (Path(plan.run_dir) / "checkpoints" / "epoch_0_step_99").mkdir()
    (Path(plan.run_dir) / "checkpoints" / "epoch_0_step_99" / ".incomplete").write_text("")
    _one(bench.plan(config="t"), "resumes", "step 49", plan.run_name, "--fresh")


# --- profile and machine


def test_keys_without_effect_are_said_in_a_fixed_order(bench: Bench) -> None:
    bench.env('account = "a"\npartition = "p"\nqos = "q"\nmounts = ["/a:/a"]\nhost = "h"\n')
    found = _found(bench.plan(), "no-effect")
    assert [finding.message.split(" ")[0] for finding in found] == ["account", "host", "mounts", "partition", "qos"]
    assert all("env.toml [local]" in finding.message for finding in found)


def test_a_host_without_a_tunnel_is_a_warning(bench: Bench) -> None:
    """Who says `tunnel = "local"` has a table in common with a laptop."""
    site = '[c]\nexecutor = "slurm"\nnproc_per_node = 8\nhost = "login"\n'
    for line, count in (("", 1), ('tunnel = "local"\n', 0)):
        bench.env(site + line)
        plan = bench.plan(profile="c", environ={}, offline=True)
        found = [one for one in checks.run(plan, offline=True) if one.code == "no-effect"]
        assert [(one.level, 'tunnel = "ssh"' in str(one.fix)) for one in found] == count * [("warning", True)]


def test_names_that_are_not_set(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.env('env = ["HERE", "GONE_ONE"]\nsecrets = ["GONE_TWO"]\n')
    monkeypatch.setenv("HERE", "1")
    messages = [f.message for f in _found(bench.plan(), "unset-name")]
    assert [("GONE_TWO" in m, "GONE_ONE" in m) for m in messages] == [(True, False), (False, True)]


def test_a_port_in_use(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        plan = bench.plan(f"run.env.rdzv_port={port}")
        _one(plan, "port-in-use", f"rdzv_port = {port}", "override run.env")
    assert _found(plan, "port-in-use") == []


def _text(path: Path) -> None:
    path.write_text("no program")


def _silent(path: Path) -> None:
    path.write_text("#!/bin/sh\nexit 3\n")


@pytest.mark.parametrize("make", [None, _text, _silent])
def test_a_python_that_is_none(bench: Bench, tmp_path: Path, make: Callable[[Path], None] | None) -> None:
    bench.script("stub", 'dependencies = ["pyyaml"]\n[tool.runspec]\n[tool.runspec.config]\ndir = "stub"')
    python = tmp_path / "python"
    if make:
        make(python)
        python.chmod(0o755)
    bench.env(f'python = "{python}"\n')
    _one(bench.plan(), "no-python", str(python), "env.toml [local]")


def test_a_python_that_is_too_old_for_the_recipe(bench: Bench, tmp_path: Path) -> None:
    block = '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"'
    bench.script("stub", f'requires-python = ">=3.10"\ndependencies = ["pyyaml"]\n{block}')
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '[[3, 6, 8], {}]'\n")  # what 3.6 prints
    python.chmod(0o755)
    bench.env(f'python = "{python}"\n')
    _one(bench.plan(), "training-python", str(python), "env.toml [local]", "3.6.8", "3.10")
    assert _found(bench.plan(), "missing-package") == []
    bench.script("stub", f'dependencies = ["pyyaml"]\n{block}')
    assert _found(bench.plan(), "training-python") == []


def test_a_missing_package(bench: Bench) -> None:
    bench.script(
        "stub",
        'dependencies = ["pyyaml>=5", "no-such-dist[x]==1; python_version>\'3\'"]\n[tool.runspec]\n'
        '[tool.runspec.config]\ndir = "stub"',
    )
    _one(bench.plan(), "missing-package", "no-such-dist", "-m pip install 'no-such-dist[x]==1'")
    block = '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"'
    bench.script("stub", f"dependencies = [\"no-such-dist; python_version < '3.0'\"]\n{block}")
    assert _found(bench.plan(), "missing-package") == []  # it is for other Pythons
    bench.script("stub", f'dependencies = ["no_such-dist@git+https://example.org/x"]\n{block}')
    _one(bench.plan(), "missing-package", "no package no_such-dist,", "no_such-dist@git+https://example.org/x")


def test_what_setup_installs_is_asked_of_it(bench: Bench, tmp_path: Path) -> None:
    """The fix of a recipe's own package does not name it, since it would not help."""
    lines = (ROOT / "requirements/train.txt").read_text().splitlines()
    assert {*machine.SET_UP} - {"huggingface-hub"} <= {line.strip() for line in lines}
    block = '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"'
    bench.script("stub", f'dependencies = ["nemo-automodel==0.7.0", "orjson"]\n{block}')
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '[[3, 12, 1], {}]'\n")  # what one without packages prints
    python.chmod(0o755)
    bench.env(f'python = "{python}"\n')
    assert ["setup.sh" in (found.fix or "") for found in _found(bench.plan(), "missing-package")] == [True, True]


def test_a_version_that_the_script_rules_out_is_a_warning(bench: Bench) -> None:
    """Nothing installs what a metadata block names; of a marker it is not asked which Python it is for."""
    entries = ["pyyaml>=99", "rich>=13", "omegaconf>=99; python_version<'3'"]
    bench.script("stub", f'dependencies = {entries}\n[tool.runspec]\n[tool.runspec.config]\ndir = "stub"')
    (found,) = _found(bench.plan(), "other-than-asked")
    assert found.level == "warning" and "asks for pyyaml>=99" in found.message
    assert (found.fix or "").endswith("-m pip install 'pyyaml>=99'")


def test_ft_launcher_is_looked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.checks.machine._version", lambda name: None if "resiliency" in name else "1")
    bench.env('launcher = "ft"\n')
    plan = bench.plan()
    assert plan.agent["launch"] == "ft"
    _one(plan, "missing-package", "nvidia-resiliency-ext", "pip install", "env.toml")
    bench.env("")
    assert bench.plan().agent["launch"] == "torchrun"


def test_more_processes_than_gpus(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 1)
    _one(bench.plan(), "too-few-gpus", "nproc_per_node = 2", "1 GPU", "run.env.nproc_per_node=1")


def test_every_finding_is_json(bench: Bench) -> None:
    bench.env('account = "a"\n')
    for finding in checks.run(bench.planned("a: $HOME\n")):
        assert set(json.loads(json.dumps(finding.document()))) == {"level", "code", "message", "fix"}


def test_a_module_beside_the_script_that_is_not_listed(bench: Bench) -> None:
    stub = bench.workspace.recipes / "stub.py"
    for name in ("parts/__init__.py", "helper.py", "other.py"):
        path = bench.workspace.recipes / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    stub.write_text(stub.read_text() + "\nimport json, helper\ndef late():\n    from parts.x import y\n")
    found = [finding for finding in checks.run(bench.plan(), offline=True) if finding.code == "part-not-listed"]
    assert [(finding.level, finding.message.split(",")[0]) for finding in found] == [
        ("error", "stub.py imports helper"),
        ("error", "stub.py imports parts"),
    ]
    assert found[0].fix and 'code = ["helper.py"]' in found[0].fix
    listed = '# [tool.runspec]\n# code = ["helper.py", "parts"]\n'
    stub.write_text(stub.read_text().replace("# [tool.runspec]\n", listed))
    assert "part-not-listed" not in {finding.code for finding in checks.run(bench.plan(), offline=True)}


def test_processes_that_a_plain_script_does_not_get(bench: Bench) -> None:
    bench.script("stub", '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"')

    def notes(*texts: str) -> list[str]:
        return [
            finding.message for finding in checks.run(bench.plan(*texts), offline=True) if finding.code == "no-effect"
        ]

    assert notes() == []  # nproc_per_node = 2 of the profile is for other recipes
    (note,) = notes("run.env.nproc_per_node=4")
    assert "stub is one process a node" in note


def test_ranks_of_a_plain_script_that_are_not_measured(bench: Bench) -> None:
    def notes(*texts: str) -> list[str]:
        found = checks.run(bench.plan(*texts), offline=True)
        return [finding.message for finding in found if "rank_times" in finding.message]

    assert notes("run.env.rank_times=50") == []  # AutoModel's, on two ranks
    bench.script("stub", '[tool.runspec]\n[tool.runspec.config]\ndir = "stub"')
    assert notes() == []
    (note,) = notes("run.env.rank_times=50")
    assert note.startswith("rank_times = 50 (override run.env") and "script of your own" in note
    bench.env("rank_times = 50\n")
    assert len(notes()) == 1
    bench.script("stub", '[tool.runspec]\nbackend = "data-prep"\n[tool.runspec.config]\ndir = "stub"')
    assert notes() == []
