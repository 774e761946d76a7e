"""Findings that ask a real Slurm, on a login node and over SSH."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import slurm_site
from tests.slurm.cluster import Cluster
from tests.slurm.sshd import SshServer
from tests.workbench import Bench, make_bench, write_pair

SSH = 'tunnel = "ssh"\nhost = "login"'
MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
MODEL = "pretrained_model_name_or_path"
LLAMA = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "max_position_embeddings": 64}
DATA_CODES = {"bad-shard", "no-data", "no-split", "no-tokenizer", "vocabulary", "context"}
DATA_CODES |= {"index-dir", "checkpoint-dir", "other-tokenizer"}
CODES = {"sbatch-refuses", "waits", "estimated-start", "unreachable", "time-limit", "gpu-hours", "job-root"}
CODES |= {"login-shell"}
ENV = """
[site]
executor = "slurm"
account = "research"
partition = "batch"
batch_partition = "short"
nodes = 2
gpus_per_node = 8
nproc_per_node = 2
time = "00:05:00"
python = "{python}"
remote_job_dir = "{root}"
{more}
"""


@pytest.fixture
def bench(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A workspace on a login node, and nothing in the queue."""
    cluster.empty()
    bench = make_bench(tmp_path)
    _profile(bench)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # NeMo-Run reads it, and pytest's own raises
    return bench


def _profile(bench: Bench, more: str = "") -> None:
    bench.env(ENV.format(python=sys.executable, root=bench.root.parent / "jobs", more=more))


def _found(plan: Plan) -> dict[str, Finding]:
    return {finding.code: finding for finding in checks.run(plan) if finding.code in CODES}


def _shim(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Programs that stand before Slurm's own."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_plan_that_slurm_takes(bench: Bench, cluster: Cluster) -> None:
    plan = bench.plan(profile="site")
    found = _found(plan)
    assert set(found) == {"estimated-start", "gpu-hours"}
    assert {finding.level for finding in found.values()} == {"note"}
    assert "2 nodes x 8 GPUs x 00:05:00 = 1.3 GPU-hours" in found["gpu-hours"].message
    assert "world size 4" in found["gpu-hours"].message
    assert "now" in found["estimated-start"].message
    assert not Path(plan.job_root).exists(), "nothing is written"
    assert plan.job_id not in cluster.check("squeue", "-h", "-o", "%j"), "nothing is submitted"


@pytest.mark.parametrize(
    ("override", "word", "fix"),
    [
        ("partition=nope", "nope", "partition"),
        ("gpus_per_node=9", "not available", "gpus_per_node"),
        ("nodes=7", "", "nodes"),
        ("mem=9000G", "not available", "mem"),
    ],
)
def test_what_slurm_refuses(bench: Bench, override: str, word: str, fix: str) -> None:
    found = _found(bench.plan(f"run.env.{override}", profile="site"))
    assert found["sbatch-refuses"].level == "error"
    assert word in found["sbatch-refuses"].message
    assert fix in (found["sbatch-refuses"].fix or "")
    assert "estimated-start" not in found


def test_a_python_that_is_too_old_on_the_login_node_is_told(bench: Bench, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho python 3.6.8\n")  # as that of EL8 answers
    old.chmod(0o755)

    def told(*overrides: str) -> list[Finding]:
        plan = bench.plan(*(f"run.env.{override}" for override in overrides), profile="site")
        return [finding for finding in checks.run(plan) if finding.code == "training-python"]

    found = told(f"python={old}")
    assert [finding.level for finding in found] == ["warning"]
    assert "3.6.8 on the login node" in found[0].message and "3.10 or later" in found[0].message
    assert "no such program" in told(f"python={tmp_path}/none")[0].message
    assert told() == told(f"python={old}", "setup_lines='module load python'") == []
    assert told(f"python={old}", "container_image=i:1") == []


def test_an_option_that_this_sbatch_does_not_have_is_told_with_its_key(bench: Bench) -> None:
    def found(lines: str) -> dict[str, Finding]:
        _profile(bench, lines)
        return {finding.code: finding for finding in checks.run(bench.plan(profile="site"))}

    misspelt = found('additional_parameters = {"mail-tpye" = "END"}')
    assert misspelt["sbatch-refuses"].level == "error" and "unknown-option" not in misspelt
    assert '"mail-type"' in (misspelt["sbatch-refuses"].fix or "")
    assert "additional_parameters.mail-tpye (env.toml [site])" in (misspelt["sbatch-refuses"].fix or "")
    newer = found("segment = 2")
    assert "segment (env.toml [site])" in (newer["sbatch-refuses"].fix or "")
    assert "sbatch-refuses" not in found('additional_parameters = {"mail-type" = "END", "mincpus" = 1}')


def test_a_time_limit_that_slurm_would_wait_for_ever_with(bench: Bench) -> None:
    asked: dict[str, Callable[[], Plan]] = {
        "run": lambda: bench.plan('run.env.time="00:05:01"', profile="site"),
        "batch": lambda: bench.plan('run.env.time="00:05:01"', profile="site", mode="batch"),
    }
    assert "time-limit" not in _found(asked["run"]())
    finding = _found(asked["batch"]())["time-limit"]
    assert finding.level == "error"
    assert "short" in finding.message
    assert "override run.env" in finding.message
    assert finding.fix == 'time = "00:05:00"'
    assert "time-limit" not in _found(bench.plan(profile="site", mode="batch"))


def test_several_partitions_and_a_quality_of_service(bench: Bench) -> None:
    text = 'run.env.time="01:00:00"'
    assert "time-limit" not in _found(bench.plan(text, "run.env.partition='short,batch'", profile="site"))
    _profile(bench, 'qos = "long"')
    assert _found(bench.plan(text, "run.env.partition=short", profile="site"))["time-limit"].level == "warning"


def test_a_job_root_that_cannot_be_made(bench: Bench) -> None:
    finding = _found(bench.plan("run.env.remote_job_dir=/proc/jobs", profile="site"))["job-root"]
    assert finding.level == "error"
    assert "/proc/jobs" in finding.message


def test_a_controller_that_is_down(bench: Bench, cluster: Cluster) -> None:
    plan = bench.plan(profile="site")
    cluster.stop_ctld()
    try:
        found = _found(plan)
    finally:
        cluster.heal()
    assert set(found) == {"unreachable", "gpu-hours"}
    assert found["unreachable"].level == "warning"
    assert found["unreachable"].fix == "python launch.py doctor site; --offline asks nothing"


def test_nodes_that_are_down_are_no_refusal(bench: Bench, cluster: Cluster) -> None:
    """sbatch takes such a job, and --test-only says the same words as for nodes that do not exist."""
    nodes = [f"nodename=c{number}" for number in (1, 2, 3)]
    try:
        for node in nodes:
            cluster.check("scontrol", "update", node, "state=drain", "reason=test")
        found = _found(bench.plan(profile="site"))
        impossible = _found(bench.plan("run.env.gpus_per_node=9", profile="site"))
    finally:
        for node in nodes:
            cluster.check("scontrol", "update", node, "state=resume")
        cluster.heal()
    assert set(found) == {"waits", "gpu-hours"}
    assert found["waits"].level == "warning"
    assert "only 1 of" in found["waits"].message
    assert impossible["sbatch-refuses"].level == "error"


def test_a_partition_that_is_down(bench: Bench, cluster: Cluster) -> None:
    cluster.check("scontrol", "update", "partitionname=low", "state=down")
    try:
        found = _found(bench.plan("run.env.partition=low", profile="site"))
    finally:
        cluster.check("scontrol", "update", "partitionname=low", "state=up")
    assert set(found) == {"waits", "gpu-hours"}
    assert "partition low is DOWN" in found["waits"].message


def test_a_machine_without_slurm(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scontrol", "sbatch"):
        _shim(tmp_path / "bin", monkeypatch, **{name: f"echo bash: {name}: command not found >&2; exit 127"})
    assert set(_found(bench.plan(profile="site"))) == {"unreachable", "gpu-hours"}
    _profile(bench, 'additional_parameters = {"mail-tpye" = "END"}')
    assert "unknown-option" in {finding.code for finding in checks.run(bench.plan(profile="site"))}


def test_offline_asks_nothing(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "asked"
    _shim(tmp_path / "bin", monkeypatch, **dict.fromkeys(("sbatch", "scontrol", "bash"), f"echo $0 >> {log}"))
    plan = bench.plan("run.env.partition=nope", profile="site")
    assert {finding.code for finding in checks.run(plan, offline=True)} & CODES == set()
    assert not log.exists()


def test_variables_of_this_shell_have_no_say(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"SBATCH_PARTITION": "nope", "SBATCH_GPUS_PER_NODE": "99", "SBATCH_TIMELIMIT": "x", "SBATCH_QOS": "no"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert set(_found(bench.plan(profile="site"))) == {"estimated-start", "gpu-hours"}


@pytest.mark.parametrize(
    ("start", "shown"),
    [("2154-01-01T00:00:00", False), ("1970-01-01T00:00:00", False), ("Unknown", False), ("+3 days", True)],
)
def test_an_absurd_estimate_is_not_shown(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, shown: bool
) -> None:
    when = f"$(date -d '{start}' +%Y-%m-%dT%H:%M:%S)" if shown else start
    said = f'echo "sbatch: Job 7 to start at {when} using 2 processors on nodes c[1-2] in partition batch" >&2'
    _shim(tmp_path / "bin", monkeypatch, sbatch=f"cat > /dev/null; {said}")
    found = _found(bench.plan(profile="site"))
    assert ("estimated-start" in found) is shown
    if shown:
        assert "cluster's time" in found["estimated-start"].message


def test_sbatch_gets_the_script_of_the_plan(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shim(tmp_path / "bin", monkeypatch, sbatch=f'echo "$@" > {tmp_path}/args; cat > {tmp_path}/script')
    plan = bench.plan(profile="site")
    _found(plan)
    assert (tmp_path / "script").read_text() == plan.script
    assert "--test-only" in (tmp_path / "args").read_text()


def test_a_login_shell_that_gives_jobs_no_environment_is_told_of(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bash_profile").write_text("echo hello\n")
    assert "login-shell" not in _found(bench.plan(profile="site"))
    (tmp_path / ".bash_profile").write_text("exec tcsh -l\n")
    found = _found(bench.plan(profile="site"))["login-shell"]
    assert "HOME" in found.message
    assert "~/.bash_profile" in (found.fix or "")


def test_over_ssh(bench: Bench, tmp_path: Path, login_node: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _profile(bench, 'tunnel = "ssh"\nhost = "login"')
    _shim(tmp_path / "bin", monkeypatch, ssh=f'exec /usr/bin/ssh -F {login_node.config} "$@"')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SLURM_CONF")
    found = _found(bench.plan(profile="site"))
    assert set(found) == {"estimated-start", "gpu-hours"}, found
    assert "sbatch-refuses" in _found(bench.plan("run.env.partition=nope", profile="site"))
    login_node.stop()
    found = _found(bench.plan(profile="site"))
    assert set(found) == {"unreachable", "gpu-hours"}
    assert "login" in found["unreachable"].message


def test_data_on_the_cluster_are_looked_at_over_the_same_connection(
    tmp_path: Path, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found there is what is found here, in the words that tell it, in one round trip."""
    bench = make_bench(tmp_path / "b").trains()
    bench.env(f"[site]\n{ENV.partition('[site]')[2]}".format(python=sys.executable, root=tmp_path / "jobs", more=SSH))
    # Reading ssh_config connects to nothing.
    connects = f'[ "$*" != "-G login" ] || exec /usr/bin/ssh -F {sshd.config} "$@"\n'
    counted = connects + f'echo >> {tmp_path}/calls\nexec /usr/bin/ssh -F {sshd.config} "$@"'
    _shim(tmp_path / "bin", monkeypatch, ssh=counted)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": 99}))
    names = [write_pair(tmp_path / f"it's {number}", [1, 2, 3], [4, 98]) for number in range(200)]
    write_pair(tmp_path / "large", [99])
    (tmp_path / "it's 7.bin").write_bytes(b"12345678")
    (tmp_path / "it's 8.idx").unlink()
    (tmp_path / "blend.json").write_text(json.dumps({"train": [*names, str(tmp_path / "large")], "valid": names}))
    for name in ("tok", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    made = {"name": "other", "path": str(tmp_path / "gone.json"), "sha256": "0"}
    (tmp_path / "record.json").write_text(json.dumps({"tokenizer": made}))
    dataset = {"_target_": MEGATRON, "paths": str(tmp_path / "blend.json"), "splits_to_build": "test"}
    config = {
        "dataset": {**dataset, "seq_length": 65, "tokenizer": {MODEL: str(tmp_path / "tok")}},
        "validation_dataset": {**dataset, "index_mapping_dir": f"{tmp_path}/config.json/index"},
        "tokenizer": str(tmp_path / "none"),
        "model": {"_target_": "x.from_pretrained", MODEL: str(tmp_path)},
        "checkpoint": {"checkpoint_dir": f"{tmp_path}/config.json/x"},
    }

    def data(plan: Plan) -> list[Finding]:
        return sorted((f for f in checks.run(plan) if f.code in DATA_CODES), key=lambda f: f.message)

    here, there = (data(bench.planned(json.dumps(config), profile=name)) for name in ("local", "site"))
    assert {finding.code for finding in here} == DATA_CODES
    assert here == there
    assert sshd.log.read_text().count("Accepted publickey") == 1
    assert len((tmp_path / "calls").read_text().splitlines()) == 2, "the connection, and one round trip"


def test_slurm_says_its_words_in_one_line() -> None:
    said = "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid"
    assert slurm_site.message(said) == "invalid partition specified: nope; Batch job submission failed: Invalid"
