"""The main job as a user runs it: prepare data, dry run, pretrain with two processes, kill it, go on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, ROOT, Checkout, TinyCorpus, is_running, make_checkout, wait_for
from tests.docker_engine import IMAGE, Engine

pytestmark = [pytest.mark.train, pytest.mark.e2e]

# tiny.yaml made smaller, not otherwise: one layer, short sequences, a checkpoint every 4 of 10 steps.
SMALL = [
    "step_scheduler.max_steps=10",
    "step_scheduler.ckpt_every_steps=4",
    "step_scheduler.val_every_steps=10",
    "step_scheduler.global_batch_size=8",
    "dataset.seq_length=64",
    "model.config.num_hidden_layers=1",
    "model.config.hidden_size=64",
    "model.config.intermediate_size=128",
    "model.config.num_attention_heads=2",
    "model.config.num_key_value_heads=2",
    "validation_dataset.num_val_samples=8",
    "lr_scheduler.lr_decay_steps=10",
    "lr_scheduler.lr_warmup_steps=2",
]
PREPARE = ("data-prep", "-c", "tiny", "+sample=200", "publish=true", "num_shards=1")
COMMAND = ("pretrain", "-c", "tiny", *SMALL)
ONE = ("run.env.nproc_per_node=1", "run.env.env_vars.OMP_NUM_THREADS=1")
"""One process of one thread: a second thread costs a model of this size more than it brings."""
ALONE = ("pretrain-one", "-c", "tiny", *SMALL, *ONE)
# Nothing of step 6 is logged, and so no later step is taken, before a file is there: a kill between checkpoints is one.
HOLDS = """
import logging, os, time
made = logging.getLogRecordFactory()
def factory(*args, **values):
    record = made(*args, **values)
    while record.getMessage().startswith("step 6 |") and not os.path.exists("{go_on}"):
        time.sleep(0.05)
    return record
logging.setLogRecordFactory(factory)
"""
LOAD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = AutoTokenizer.from_pretrained(sys.argv[1])("def main():", return_tensors="pt").input_ids
print("loss", float(model(input_ids=ids, labels=ids).loss))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: TinyCorpus) -> Checkout:
    """A checkout with the quickstart's data, fewer documents of it."""
    checkout = make_checkout(tmp_path_factory.mktemp("train") / "checkout")
    tiny_corpus(checkout.root / "data/tiny")
    done = checkout.run(*PREPARE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].endswith("blend.json")
    # `pretrain` without torchrun, which imports torch for seconds before the recipe does
    recipe = (ROOT / "recipes" / "pretrain.py").read_text()
    for former, new in (('name = "pretrain"', 'name = "pretrain-one"'), ('launch = "torchrun"', 'launch = "python"')):
        assert recipe.count(former) == 1
        recipe = recipe.replace(former, new)
    (checkout.root / "recipes" / "pretrain_one.py").write_text(recipe)
    return checkout


def _losses(path: str) -> dict[int, float]:
    """Loss by step; of a step that was done twice, the later record counts."""
    lines = Path(path, "checkpoints", "training.jsonl").read_text().splitlines()
    return {record["step"]: record["loss"] for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def undisturbed(prepared: Checkout) -> dict[str, Any]:
    """A run from start to end: its dry run's plan, its output, its finished.json."""
    return _run(prepared, *COMMAND)


@pytest.fixture(scope="module")
def alone(prepared: Checkout) -> dict[str, Any]:
    """As `undisturbed`, of one process: for comparisons that are not about several of them."""
    return _run(prepared, *ALONE)


def _run(prepared: Checkout, *command: str) -> dict[str, Any]:
    plan = prepared.json(*command, "--dry-run")
    done = prepared.run(*command)
    assert done.returncode == 0, done.stderr + done.stdout
    return {"plan": plan, "stdout": done.stdout, "stderr": done.stderr, "losses": _losses(plan["run_dir"])}


def test_the_dry_run_shows_the_job_that_runs(undisturbed: dict[str, Any]) -> None:
    plan = undisturbed["plan"]
    assert [finding for finding in plan["findings"] if finding["level"] == "error"] == []
    assert (plan["nodes"], plan["processes_per_node"], plan["world_size"]) == (1, 2, 2)
    saved = json.loads(Path(plan["job_dir"], "plan.json").read_text())
    assert saved["plan_hash"] == plan["plan_hash"]
    assert {key: saved[key] for key in saved} == {key: plan[key] for key in saved}
    for file in plan["files"]:
        assert Path(plan["job_dir"], file["path"]).stat().st_size == file["bytes"]


def test_two_processes_train_and_learn(undisturbed: dict[str, Any]) -> None:
    losses = undisturbed["losses"]
    assert sorted(losses) == list(range(10))
    assert losses[9] < losses[0] - 0.05
    assert "no CUDA: running on the CPU" in undisturbed["stdout"]
    assert "World size: 2" in Path(undisturbed["plan"]["job_dir"], "logs", "rank-0.log").read_text()
    assert "finished: step 10 of 10" in undisturbed["stdout"]
    metrics = Path(undisturbed["plan"]["job_dir"], "metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, metrics) if "tps" in record]
    assert [record["loss"] for record in steps] == pytest.approx([losses[n] for n in range(10)], abs=1e-4)


def test_an_attached_run_prints_what_a_person_needs(undisturbed: dict[str, Any]) -> None:
    """On both streams, besides the steps; the log has all of it."""
    lines = [*undisturbed["stdout"].splitlines(), *undisturbed["stderr"].splitlines()]
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 10
    assert max(map(len, steps)) <= 80
    assert len(lines) - len(steps) < 40, undisturbed["stdout"] + undisturbed["stderr"]
    log = Path(undisturbed["plan"]["job_dir"], "logs", "rank-0.log").read_text().splitlines()
    hidden = len(log) - len(undisturbed["stdout"].splitlines())
    assert f"{hidden} lines of the framework's own are in the log alone; --verbose shows them" in lines


def test_the_checkpoint_it_names_loads_in_transformers(undisturbed: dict[str, Any]) -> None:
    named = undisturbed["stderr"].partition("for transformers: ")[2].splitlines()[0]
    done = subprocess.run([sys.executable, "-c", LOAD, named], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[1]) < 9


def test_the_pipeline_of_the_page(prepared: Checkout) -> None:
    """docs/pipelines.md: its three steps, with the small sizes; again, nothing is left to do."""
    small = [f"train.{word}" for word in (*SMALL, "step_scheduler.max_steps=4", *ONE)]
    data = [f"+data.{word[1:]}" if word.startswith("+") else f"data.{word}" for word in PREPARE[3:]]
    words = ("pipeline", "tiny", *data, *small, "check.most=9")
    done = prepared.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    codes = [(step["name"], step["state"], step["exit_code"]) for step in ended["steps"]]
    assert codes == [("data", "FINISHED", None), ("train", None, 0), ("check", None, 0)]  # `prepared` is that very run
    train, check = (prepared.root / "runs" / step["run_name"] for step in ended["steps"][1:])
    link = train / "hf"
    assert not link.readlink().is_absolute()
    assert str(link.resolve()) == json.loads((train / "finished.json").read_text())["hf"]
    assert f"{link}: loss " in (check.with_name(f"{check.name}.1") / "logs" / "rank-0.log").read_text()
    shown = prepared.json(*words, "--dry-run")
    assert [step["state"] for step in shown["steps"]] == ["FINISHED"] * 3
    assert shown["plan_hash"] == ended["plan_hash"]
    link.unlink()
    link.mkdir()
    (link / "config.json").write_text("{}")  # what is no model is refused, and found out by the job itself
    broken = prepared.run("export-check", f"model={link}")
    assert broken.returncode == 3 and "no tokenizer" in broken.stderr, broken.stderr
    assert prepared.run("export-check", f"model={link}", "--force").returncode == 1
    missing = prepared.run("export-check", "model=/no/such/export")
    assert missing.returncode == 3 and "no such directory" in missing.stderr
    assert prepared.run("export-check", "model=/no/such/export", "--force").returncode == 2


@pytest.mark.slow
def test_a_pipeline_that_tries_rates(prepared: Checkout) -> None:
    """Of two rates, of which one learns nothing, the other's export is looked at, through the link."""
    text = (prepared.root / "configs/pipeline/tiny.yaml").read_text()
    swept = "sweep: {grid: {optimizer.lr: [1.0e-9, 1.0e-2]}}\n    overrides:\n      dataset"
    text = text.replace("overrides:\n      dataset", swept)
    (prepared.root / "rates.yaml").write_text(text.replace("${steps.train.hf}", "${steps.train.best.hf}"))
    small = [f"train.{word}" for word in (*SMALL, "step_scheduler.max_steps=4", *ONE)]
    data = [f"+data.{word[1:]}" if word.startswith("+") else f"data.{word}" for word in PREPARE[3:]]
    words = ("pipeline", "rates.yaml", *data, *small, "check.most=9", "train.lr_scheduler.min_lr=0.0")
    before = prepared.json(*words, "--dry-run")
    assert [f for step in before["steps"] for f in step["findings"] if f["level"] == "error"] == []
    done = prepared.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    check = before["steps"][2]["plan"]
    link = Path(before["steps"][1]["promises"]["best.run_dir"])
    chosen = json.loads(Path(f"{link}.json").read_text())
    points = [point["plan"]["run_name"] for point in before["steps"][1]["sweep"]["points"]]
    assert (chosen["run_name"], chosen["metric"], set(chosen["points"])) == (points[1], "val_loss", set(points))
    assert f"{link}/hf: loss " in Path(check["job_dir"], "logs", "rank-0.log").read_text()
    after = prepared.json(*words, "--dry-run")
    assert [step["state"] for step in after["steps"]] == ["FINISHED"] * 3
    assert after["plan_hash"] == before["plan_hash"]


def test_the_same_launch_again_says_that_it_is_finished(prepared: Checkout, undisturbed: dict[str, Any]) -> None:
    began = len(prepared.json("jobs"))
    again = prepared.run(*COMMAND)
    assert again.returncode == 0
    assert "is finished (step 10); nothing was started" in again.stderr
    assert len(prepared.json("jobs")) == began


def test_reproduced_it_has_the_same_losses_and_refuses_other_data(prepared: Checkout, alone: dict[str, Any]) -> None:
    """The example of docs/reproduce.md, of a smaller run: to 1e-6; and one changed byte of the data is named."""
    run = alone["plan"]["run_name"]
    text = (ROOT / "docs" / "reproduce.md").read_text().partition("\n    python launch.py ")[2].partition("\n\n")[0]
    launched, *others = (line.partition("#")[0].split() for line in text.split("\n    python launch.py "))
    assert launched == [*COMMAND[:3], "--name", "january"]
    reproduce, diff = ([word.replace("january", run) for word in words] for words in others)
    done = prepared.run(*reproduce)
    assert done.returncode == 0, done.stderr
    again = _losses(str(prepared.root / "runs" / f"{run}-again"))
    assert [again[n] for n in range(10)] == pytest.approx([alone["losses"][n] for n in range(10)], abs=1e-6)
    same = prepared.run(*diff)
    assert same.returncode == 0, same.stdout
    data = json.loads((Path(alone["plan"]["run_dir"]) / "data.json").read_text())
    shard = Path(f"{data['rows'][0][0]}.bin")
    content = shard.read_bytes()
    try:
        shard.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        refused = prepared.run("reproduce", run)
        assert refused.returncode == 3
        assert f"trained on other data: {shard.with_suffix('')}" in " ".join(refused.stderr.split())
    finally:
        shard.write_bytes(content)


def test_killed_between_two_checkpoints_it_goes_on_from_the_last_one_with_its_own_data(
    prepared: Checkout, alone: dict[str, Any]
) -> None:
    """Whatever `latest` is now; the same launch is refused while that leads to other data.

    One process: tests/recipes/test_pretrain_runs.py kills several of them.
    """
    command = (*ALONE, "--name", "killed")
    hook, go_on = prepared.root / "hook", prepared.root / "go-on"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOLDS.format(go_on=go_on))
    with (prepared.root / "env.toml").open("a") as file:
        file.write(f'[held]\nextends = "local"\nenv_vars = {{ PYTHONPATH = "{hook}" }}\n')
    batch = prepared.run(*command, "--batch", "held")
    assert batch.returncode == 0, batch.stderr
    job_dir = prepared.root / "runs" / "killed.1"
    wait_for_step(job_dir, 5)
    kill_everything(job_dir)
    go_on.touch()
    assert prepared.json("status", "killed")["state"] == "FAILED"
    assert prepared.run(*PREPARE, "add_bos=true").returncode == 0
    try:
        refused = prepared.run(*command)
        assert refused.returncode == 3 and "began with other data" in refused.stderr
        assert prepared.json(*ALONE, "--dry-run")["run_name"] != alone["plan"]["run_name"]
        resumed = prepared.run("resume", "killed")
        assert resumed.returncode == 0, resumed.stderr
    finally:
        assert prepared.run(*PREPARE).returncode == 0
    again = prepared.run("attach", "killed")
    assert again.returncode == 0, again.stderr + again.stdout
    steps = [line.partition("  loss ")[0] for line in again.stdout.splitlines() if line.startswith("step ")]
    assert steps[-6:] == [f"step {number}" for number in range(4, 10)], "from the checkpoint of step 3 on"
    losses = _losses(str(prepared.root / "runs" / "killed"))
    assert [losses[n] for n in range(10)] == pytest.approx([alone["losses"][n] for n in range(10)], abs=1e-4)


def test_in_a_container_of_our_own_image_it_is_the_same(
    prepared: Checkout, undisturbed: dict[str, Any], engine: Engine
) -> None:
    said = engine.build()
    for name in (f"torch=={metadata.version('torch')}", "transformers", "nemo-automodel"):
        assert f"Requirement already satisfied: {name} in" in said
    assert "Collecting" not in said and "Successfully installed" not in said
    # AutoModel's data helper as `undisturbed` has built it: /tmp is empty in every container
    profile = f'container_image = "{IMAGE}"\nmounts = ["/tmp/nemo_automodel_{os.getuid()}"]\n'
    with (prepared.root / "env.toml").open("a") as file:
        file.write(f'[docker-test]\nexecutor = "docker"\nnproc_per_node = 2\ngpus_per_node = 0\n{profile}')
        file.write('docker_args = ["--network", "none"]\n')
    done = prepared.run(*COMMAND, "--run", "docker-test", "--name", "boxed", env=engine.env)
    assert done.returncode == 0, done.stderr + done.stdout
    job = prepared.json("status", "boxed")
    assert (job["state"], job["executor"]) == ("COMPLETED", "docker")
    host = json.loads(Path(job["job_dir"], "exit.json").read_text())["nodes"][0]["host"]
    assert host == job["handle"]["container"]
    assert _losses(job["run_dir"]) == pytest.approx(undisturbed["losses"], abs=1e-4)
    assert Path(json.loads(Path(job["run_dir"], "finished.json").read_text())["hf"], "config.json").is_file()


def test_a_run_named_again_with_other_settings_is_told(prepared: Checkout, undisturbed: dict[str, Any]) -> None:
    name = undisturbed["plan"]["run_name"]
    plan = prepared.json(*COMMAND, "--name", name, "optimizer.lr=0.5", "--dry-run")
    differs = [finding for finding in plan["findings"] if finding["code"] == "run-differs"]
    assert "optimizer.lr" in differs[0]["message"]
    assert prepared.json(*COMMAND, "--fresh", "--dry-run")["run_name"] == f"{name}-2"


def test_nanogpt_shards_of_the_same_corpus_train_it_too(prepared: Checkout) -> None:
    output = prepared.root / "data" / "tiny" / "nanogpt"
    changes = (
        "+format=nanogpt",
        "add_bos=true",
        "add_eos=false",
        f"output_dir={output}",
        "+sample=200",
        "publish=true",
        "num_shards=1",
    )
    done = prepared.run("data-prep", "-c", "tiny", *changes)
    assert done.returncode == 0, done.stderr
    pattern = done.stdout.strip().splitlines()[-1]
    assert pattern.endswith("/train/*.bin")
    kind = "nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset"
    dataset = f"dataset={{_target_: {kind}, file_pattern: '{pattern}', seq_len: 64, align_to_bos: true, bos_token: 0}}"
    small = [override for override in SMALL if override.startswith(("model.", "lr_scheduler."))]
    steps = [f"step_scheduler.{key}" for key in ("max_steps=6", "ckpt_every_steps=6", "global_batch_size=8")]
    # NanogptDataset never ends, and so would a validation
    without = ("~validation_dataset", "~step_scheduler.val_every_steps")
    command = ("pretrain-one", "-c", "tiny", *small, *steps, dataset, *without, *ONE, "--name", "nanogpt")
    done = prepared.run(*command)
    assert done.returncode == 0, done.stderr + done.stdout
    losses = _losses(str(prepared.root / "runs" / "nanogpt"))
    assert sorted(losses) == list(range(6))
    assert losses[5] < losses[0] - 0.05


@pytest.mark.slow
def test_the_example_of_sweeps(prepared: Checkout) -> None:
    """docs/sweeps.md begins with it."""
    text = (ROOT / "docs" / "sweeps.md").read_text()
    commands = re.findall(r"^    python launch\.py (.*)$", text.partition("\n\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(commands) == 3
    done = [prepared.run(*shlex.split(command)) for command in commands]
    assert [one.returncode for one in done] == [0, 0, 0], done[0].stderr
    assert "rates: 2 COMPLETED" in done[1].stdout
    assert re.match(r"rates by (val_)?loss, best first:\n +point +lr ", done[2].stdout)


def wait_for_step(job_dir: Path, step: int) -> None:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        log = job_dir / "logs" / "rank-0.log"
        if log.is_file() and f"| step {step} |" in log.read_text():
            return
        assert not (job_dir / "exit.json").exists(), log.read_text() if log.is_file() else job_dir
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached")


def kill_everything(job_dir: Path) -> None:
    """SIGKILL to the agent and the ranks at once: a power cut, as far as the processes are concerned."""
    marker = f"LAUNCH_JOB_DIR={job_dir}".encode()
    agent = json.loads((job_dir / "nodes" / "0.json").read_text())["agent_pid"]
    pids = [agent]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
            except OSError:
                continue
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(lambda: not any(is_running(str(pid)) for pid in pids))


@pytest.mark.slow
def test_a_longer_launch_goes_on_with_the_same_run(prepared: Checkout, undisturbed: dict[str, Any]) -> None:
    longer = tuple(text.replace("max_steps=10", "max_steps=12") for text in COMMAND)
    assert longer != COMMAND
    done = prepared.run(*longer, "step_scheduler.val_every_steps=6")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "[other-length]" in done.stderr and "ends at step 10" in " ".join(done.stderr.split())
    assert done.stdout.partition("| INFO | root | step ")[2].partition(" ")[0] == "10"
    losses = _losses(undisturbed["plan"]["run_dir"])
    assert sorted(losses) == list(range(12))
    assert [losses[n] for n in range(10)] == [undisturbed["losses"][n] for n in range(10)]
    done = prepared.run(*longer, "--name", "at-once")
    assert done.returncode == 0, done.stderr
    at_once = _losses(str(prepared.root / "runs" / "at-once"))  # as if it had been that long from the start
    assert [losses[n] for n in range(12)] == pytest.approx([at_once[n] for n in range(12)], abs=1e-4)
