"""What a Docker plan's script holds, and what the plan's checks know of its container. No engine is asked."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from automodel_launch import checks, executors
from automodel_launch.checks import Finding
from automodel_launch.errors import ProfileError
from automodel_launch.executors.docker import engine
from automodel_launch.jobs.records import Record
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus
from tests.workbench import Bench, refused


def _plan(bench: Bench, more: str = "", *texts: str) -> Plan:
    bench.env(f'[d]\nexecutor = "docker"\ncontainer_image = "docker://nvcr.io#nvidia/nemo:1"\n{more}')
    return bench.plan(*texts, profile="d")


def _run(plan: Plan) -> list[str]:
    """The words of `docker run`."""
    return shlex.split(plan.script.partition("exec ")[2].replace("\\\n", ""))


def _values(words: list[str], option: str) -> list[str]:
    return [words[number + 1] for number, word in enumerate(words) if word == option]


def test_image_command_and_defaults(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "count", lambda: 0)
    plan = _plan(bench)
    words = _run(plan)
    assert words[:4] == ["docker", "run", "--detach", "--rm"]
    command = ["sh", f"{plan.job_dir}/code/recipes/node_agent.sh", "run", f"{plan.job_dir}/agent.json"]
    assert words[-5:] == ["nvcr.io/nvidia/nemo:1", *command]
    assert "--gpus" not in words
    assert _values(words, "--entrypoint") == [""]
    assert _values(words, "--shm-size") == ["16g"]
    assert plan.processes_per_node == 2


def test_gpus_and_other_options(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "count", lambda: 4)
    more = 'ipc_mode = "host"\nruntime = "nvidia"\ndocker_args = ["--ulimit", "memlock=-1", "--label", "a b"]\n'
    plan = _plan(bench, more)
    words = _run(plan)
    assert _values(words, "--gpus") == ["all"] and plan.processes_per_node == 4
    assert (_values(words, "--ipc"), _values(words, "--runtime")) == (["host"], ["nvidia"])
    assert "--shm-size" not in words and "a b" in words
    assert _values(_run(_plan(bench, "gpus_per_node = 2\n")), "--gpus") == ["2"]
    assert "--gpus" not in _run(_plan(bench, "gpus_per_node = 0\n"))


_RUN = "docker: Error response from daemon: "
_CREATE = f"{_RUN}failed to create task for container: failed to create shim task: OCI runtime create failed: "


@pytest.mark.parametrize(
    ("said", "advice", "not_said"),
    [
        (f'{_CREATE}exec: "sh": executable file not found in $PATH: unknown.', "sh and a Python", "toolkit"),
        (f'{_CREATE}exec: "nvidia-container-runtime-hook": executable file not found in $PATH.', "toolkit", "Python"),
        (f'{_RUN}could not select device driver "" with capabilities: [[gpu]].', "toolkit", "Python"),
        (f"{_RUN}unknown or invalid runtime name: nvidia.", "toolkit", "Python"),
        (f'{_CREATE}exec: "/opt/entry": permission denied: unknown.', "may not read or write", "group docker"),
        ("permission denied while trying to connect to the Docker API at unix:///run/docker.sock", "group docker", "x"),
        (f'{_RUN}invalid mount config for type "bind": bind source path does not exist: /x.', "make it", "Python"),
        (f"{_CREATE}exec /usr/bin/sh: exec format error", "another kind of CPU", "Python"),
        (f"{_RUN}write /var/lib/docker/tmp/x: no space left on device", "is full", "Python"),
        (f"{_RUN}invalid size: 'much'", "--dry-run", "Python"),
    ],
)
def test_what_dockers_words_mean(said: str, advice: str, not_said: str) -> None:
    assert advice in engine.advice(said) and not_said not in engine.advice(said)


def test_mounts_carry_every_character_but_a_colon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    odd = ["/a, b:/c d:ro", "/q\"uo'te:/q", "$SCRATCH/x"]
    plan = _plan(bench, f"mounts = {json.dumps(odd)}\n")
    mounts = _values(_run(plan), "--mount")
    assert mounts[0] == 'type=bind,"source=/a, b",target=/c d,readonly'
    assert mounts[1] == 'type=bind,"source=/q""uo\'te",target=/q'
    assert mounts[2] == "type=bind,source=/scratch/me/x,target=/scratch/me/x"
    own = [f"{plan.job_root}:{plan.job_root}", f"{plan.data_dir}:{plan.data_dir}", f"{plan.job_dir}:/nemo_run"]
    assert plan.document()["mounts"][3:] == own


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('mounts = ["/a:/b:rbind"]', ["rbind", "cached"]),
        ('mounts = ["$NO_SUCH_NAME/a"]', ["NO_SUCH_NAME is not set"]),
        ('mounts = ["/a:/x", "/b:/x"]', ["one target"]),
        ("nodes = 2", ["one machine"]),
    ],
)
def test_what_is_refused(bench: Bench, line: str, words: list[str]) -> None:
    refused(ProfileError, lambda: _plan(bench, f"{line}\n"), *words)


def _local_automodel(bench: Bench, more: str) -> list[Finding]:
    found = checks.run(_plan(bench.trains(), more), offline=True)
    return [finding for finding in found if finding.code.endswith("framework")]


def test_which_automodel_is_imported_is_said(bench: Bench, tmp_path: Path) -> None:
    mount = f'mounts = ["{tmp_path}/Automodel:/opt/Automodel"]\n'
    assert _local_automodel(bench, "") == []
    (tmp_path / "Automodel").mkdir()
    (empty,) = _local_automodel(bench, mount)
    assert (empty.level, empty.code) == ("error", "no-framework")
    (tmp_path / "Automodel" / "nemo_automodel").mkdir()
    (tmp_path / "Automodel" / "nemo_automodel" / "__init__.py").touch()
    (found,) = _local_automodel(bench, mount)
    assert found.level == "note" and f"is imported from {tmp_path}/Automodel" in found.message
    path = f'mounts = ["{tmp_path}:/mine"]\nenv_vars = {{PYTHONPATH = "/mine/Automodel"}}\n'
    (found,) = _local_automodel(bench, path)
    assert f"is imported from {tmp_path}/Automodel (PYTHONPATH" in found.message


def test_data_that_the_container_does_not_see_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.trains(own_recipe=True)
    text = "steps: 1\ndataset:\n  _target_: x.NanogptDataset\n  file_pattern: /elsewhere/*.bin\n"
    bench.config(text)
    bench.env('[d]\nexecutor = "docker"\ncontainer_image = "i"\n')
    plan = bench.plan(config="t", profile="d")
    found = {finding.code: finding for finding in checks.run(plan, offline=True)}
    assert "/elsewhere/*.bin is not in the container" in found["not-in-container"].message
    assert "no-data" not in found
    seen = bench.plan('+run.env.mounts=["/x:/elsewhere"]', config="t", profile="d")
    assert "not-in-container" not in {finding.code for finding in checks.run(seen, offline=True)}


def test_a_job_runs_since_its_agent_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not since the last heartbeat, which each look would take for news."""
    monkeypatch.setattr(engine, "state", lambda handle: "running")
    (tmp_path / "nodes").mkdir()
    heartbeat = {"host": "h", "step": 3, "started": 100.0, "time": 200.0}
    (tmp_path / "nodes" / "0.json").write_text(json.dumps(heartbeat))
    record = Record("j.1", "j", "stub", "default", "d", "docker", "run", str(tmp_path), str(tmp_path), "h", 0.0)
    status = executors.get("docker").status(record)
    assert (status.state, status.step, status.started) == ("RUNNING", 3, 100.0)
