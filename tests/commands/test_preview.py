"""The dry run: one screen, or everything of the plan with --full; and the script as it is."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.commands import preview, preview_changes, preview_start, preview_summary, run_state
from automodel_launch.commands.preview import View
from automodel_launch.jobs import rundir
from automodel_launch.plan.plan import Plan
from tests.commands.conftest import Cli
from tests.conftest import ROOT, Checkout
from tests.workbench import Bench, make_bench

FULL = View(full=True)
SLURM = """
[far]
executor = "slurm"
nodes = 2
gpus_per_node = 8
time = "04:00:00"
partition = "batch"
container_image = "none"
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """NeMo-Run, which makes the script, takes seconds to import."""
    script = "#!/bin/bash\n#\n#SBATCH --nodes=2\n" + "# theirs\n" * 60 + "srun {plan.job_dir}/agent.json\nexit"
    monkeypatch.setattr(
        "automodel_launch.executors.slurm.executor.Slurm.script",
        lambda self, plan: script.replace("{plan.job_dir}", plan.job_dir),
    )


def _shown(plan: Plan, capsys: pytest.CaptureFixture[str], view: View | None = None, *findings: Finding) -> str:
    preview.show(plan, list(findings), view)
    return capsys.readouterr().out


def _joined(text: str) -> str:
    """The text without the line breaks of wrapping."""
    return " ".join(text.split())


# --- the first screen


@pytest.mark.parametrize("view", [View(), FULL])
def test_what_both_views_show(bench: Bench, capsys: pytest.CaptureFixture[str], view: View) -> None:
    plan = bench.plan("value=a b", "run.env.stall=5m")
    out = _shown(plan, capsys, view, Finding("error", "bad", "it is bad", "mend it"), Finding("note", "n", "good"))
    lines = out.splitlines()
    assert lines[0] == f"{plan.job_id}: new run; attached, profile local"
    assert "1 node x 2 processes = 2 ranks" in lines[1]
    assert lines[2:6] == [
        "  1 error, 1 note: it would not be submitted (bad)",
        "  error: [bad] it is bad",
        "    fix: mend it",
        "  note: [n] good",
    ]
    assert lines[6:9] == ["changed on the command line", '  * value = "a b"', '  * run.env.stall = "5m"']
    assert _joined(f"  submit   {plan.submit}")[:30] in _joined(out)
    for part in (plan.job_dir, plan.run_dir, plan.plan_hash):
        assert part in out.replace("\n           ", "")
    assert out.endswith(plan.script)


def test_a_change_inside_a_list_is_shown_as_it_was_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.config("data: [{path: /a}, {path: /b}, {path: /c}]\nl: [1]\ns: x\n")
    texts = ("data.0.path=/x", "~data.2", "data.1.path=/y", "l=[2, 3]", "s=a, over b")
    lines = _shown(bench.plan(*texts, config="t"), capsys, View(removed=("data.2",))).splitlines()
    begin = lines.index("changed on the command line")
    shown = ["data.0.path=/x", "data.1.path=/y", "l = [2, 3]", 's = "a, over b"', "data.2 removed"]
    assert sorted(lines[begin + 1 : begin + 6]) == sorted(f"  * {text}" for text in shown)


def test_nothing_is_wrong_and_nothing_was_changed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    out = _shown(bench.plan(), capsys)
    assert "nothing is wrong with it" in out
    assert "changed" not in out and "image" not in out and "GPU" not in out


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "04:00:00 = 64 GPU-hours"),
        ('until = "done"\n', "04:00:00 = 64 GPU-hours a job; no limit in all (chain is not set)"),
        ('until = "done"\nchain = 20\n', "04:00:00 = 64 GPU-hours a job; at most 20 jobs = 1,280 GPU-hours"),
        ("chain = 1\n", "04:00:00 = 64 GPU-hours a job; at most 1 job = 64 GPU-hours"),
        ("max_gpu_hours = 50\n", "04:00:00 = 64 GPU-hours; at most 50 GPU-hours in all (max_gpu_hours)"),
        (
            'until = "done"\nmax_gpu_hours = 500\n',
            "04:00:00 = 64 GPU-hours a job; at most 500 GPU-hours in all (max_gpu_hours)",
        ),
        (
            "chain = 20\nmax_gpu_hours = 500.5\n",
            "04:00:00 = 64 GPU-hours a job; at most 20 jobs = 1,280 GPU-hours,"
            " at most 500.5 GPU-hours in all (max_gpu_hours)",
        ),
    ],
)
def test_what_it_may_cost(quick: None, bench: Bench, more: str, expected: str) -> None:
    bench.env(SLURM + more)
    assert ("time", expected) in list(preview_summary.lines(bench.plan(profile="far"), offline=True))


def test_without_a_time_limit(quick: None, bench: Bench) -> None:
    bench.env(SLURM.replace('time = "04:00:00"\n', ""))
    rows = dict(preview_summary.lines(bench.plan(profile="far"), offline=False))
    assert rows["time"] == "the partition's own limit (time is not set)"
    assert "offline" not in rows


@pytest.mark.parametrize(("mode", "partition"), [("run", "short"), ("batch", "long")])
def test_where(quick: None, bench: Bench, mode: str, partition: str) -> None:
    bench.env(SLURM + 'run_partition = "short"\nbatch_partition = "long"\n')
    rows = dict(preview_summary.lines(bench.plan(profile="far", mode=mode), offline=True))
    assert rows["where"] == f"slurm, 2 nodes x 8 processes = 16 ranks, partition {partition}, bare metal"


def test_offline_says_what_was_not_looked_at(quick: None, bench: Bench) -> None:
    bench.env(SLURM + '[ssh]\nextends = "far"\ntunnel = "ssh"\nhost = "login"\nremote_job_dir = "/jobs"\n')
    here = dict(preview_summary.lines(bench.plan(profile="far"), offline=True))
    assert here["offline"] == "not looked at: whether slurm would take it now"
    there = dict(preview_summary.lines(bench.plan(profile="ssh"), offline=True))
    assert "data, tokenizers, the run's checkpoints" in there["offline"]
    assert there["where"].endswith("through login, partition batch, bare metal")
    assert "offline" not in dict(preview_summary.lines(bench.plan(), offline=True))


def test_what_it_trains(bench: Bench) -> None:
    bench.trains(own_recipe=True)
    model = "{_target_: x.from_config, config: {_target_: transformers.LlamaConfig, vocab_size: 100, hidden_size: 8,"
    model += " intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 2}}"
    steps = "step_scheduler: {global_batch_size: 4, local_batch_size: 2, max_steps: 10}\n"
    text = f"{steps}dataset: {{_target_: a.B, seq_length: 16}}\nmodel: {model}\n"
    plan = bench.trains(own_recipe=True).planned(text)
    rows = dict(preview_summary.lines(plan, offline=True))
    assert rows["trains"] == "2,920 parameters; 10 steps x 64 tokens = 640 tokens"
    assert "data" not in rows and "duration" not in rows


# --- the run so far


def test_a_run_of_which_no_job_has_begun_is_new(bench: Bench) -> None:
    """A refused submission leaves its directory."""
    plan = bench.plan()
    rundir.begin(plan.run_dir, plan.trained, plan.place, plan.world_size)
    (first, _), *_ = preview_summary.lines(plan, offline=True)
    assert "new run" in first


def _begun(plan: Plan, step: int | None, finished: bool = False) -> None:
    run = Path(plan.run_dir)
    rundir.begin(str(run), plan.trained, plan.place, plan.world_size)
    (run / "history.jsonl").touch()
    if step is not None:
        (run / "checkpoints" / f"epoch_0_step_{step}").mkdir(parents=True)
    if finished:
        (run / "finished.json").write_text(json.dumps({"step": step}))


@pytest.mark.parametrize(
    ("step", "finished", "words"),
    [
        (None, False, "started before, no checkpoint"),
        (4, False, "resumes from step 4"),
        (9, True, "finished at step 9: nothing would start, --fresh starts it again"),
    ],
)
def test_the_state_of_the_run(bench: Bench, step: int | None, finished: bool, words: str) -> None:
    bench.trains(own_recipe=True)
    text = "step_scheduler: {max_steps: 9}\ncheckpoint: {checkpoint_dir: '${run.dir}/checkpoints'}\n"
    plan = bench.trains(own_recipe=True).planned(text)
    _begun(plan, step, finished)
    (first, _), *_ = preview_summary.lines(plan, offline=True)
    assert first == f"{plan.job_id}: {words}; attached, profile local"


@pytest.mark.parametrize(
    ("backend", "state", "words"),
    [
        (
            "data-prep",
            "COMPLETED",
            "finished; a launch would start it once more, which makes only the shards that are missing",
        ),
        ("none", "COMPLETED", "finished; a launch would start it once more"),
        ("none", "FAILED", "started before; a launch would start it once more"),
    ],
)
def test_the_state_of_a_run_that_saves_no_checkpoints(bench: Bench, backend: str, state: str, words: str) -> None:
    """Data preparation, say: nothing of it is a step, and the launcher never refuses to start it again."""
    bench.script(
        "stub", f'dependencies = []\n[tool.runspec]\nbackend = "{backend}"\n[tool.runspec.config]\ndir = "stub"'
    )
    plan = bench.plan()
    _begun(plan, None)
    told = {"event": "ended", "job_id": f"{plan.run_name}.1", "attempt": 0, "time": 9.0, "state": state}
    (Path(plan.run_dir) / "history.jsonl").write_text(json.dumps(told) + "\n")
    assert run_state.look(plan).words == words
    other = bench.plan("+more=1", name=plan.run_name)
    assert run_state.look(other).words == words.replace("finished", "started before")  # it is other data now


def _submitted(plan: Plan) -> None:
    """Leave what a submission leaves of the plan."""
    folder = Path(plan.job_dir)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan.document()))


def _differences(bench: Bench, *texts: str, profile: str = "local") -> list[str]:
    plan = bench.plan(*texts, profile=profile, name="r")
    rows = [text or label for label, text in preview_changes.lines(plan, (), None)]
    return rows[next(n for n, row in enumerate(rows) if "r.1" in row) :]


def test_what_differs_from_the_last_job(bench: Bench) -> None:
    _submitted(bench.plan(name="r"))
    assert _differences(bench) == ["the same as r.1, the last job of this run"]
    (bench.root / "recipes" / "stub.py").write_text((bench.root / "recipes" / "stub.py").read_text() + "# more\n")
    assert _differences(bench, "steps=3", "run.env.stall=5m") == [
        "differs from r.1, the last job of this run",
        "code: 1 file: recipes/stub.py",
        "config: steps 2 -> 3",
        'profile: stall not set -> "5m"',
    ]


def test_another_script(quick: None, bench: Bench) -> None:
    _submitted(bench.plan(name="r"))
    bench.env(SLURM)
    found = _differences(bench, profile="far")
    assert 'executor: "local" -> "slurm"' in found
    assert any(row.startswith("script: ") for row in found)


def test_many_differences_are_cut_unless_all_are_wanted(bench: Bench) -> None:
    bench.config("".join(f"k{n}: 1\n" for n in range(20)))
    plan = bench.plan(*(f"k{n}=2" for n in range(20)), config="t")
    rows = list(preview_changes.lines(plan, ["gone"], 8))
    assert len(rows) == 10 and rows[-1] == ("-", "and 13 more: --full")
    assert len(list(preview_changes.lines(plan, ["gone"], None))) == 22


def test_how_long_it_will_take_at_the_last_jobs_pace(bench: Bench) -> None:
    bench.trains(own_recipe=True)
    text = (
        "step_scheduler: {global_batch_size: 4, local_batch_size: 2, max_steps: 10}\n"
        "dataset: {_target_: a.B, seq_length: 16}\ncheckpoint: {checkpoint_dir: '${run.dir}/checkpoints'}\n"
    )
    plan = bench.trains(own_recipe=True).planned(text, name="r")
    _begun(plan, 4)
    _submitted(plan)
    Path(plan.job_dir, "metrics.jsonl").write_text('{"step": 4, "loss": 1.0, "tps": 2.0}\n')
    rows = dict(preview_summary.lines(bench.plan(config="t", name="r"), offline=True))
    assert rows["duration"] == "about 3 min, at the last job's 2 tokens/s"  # 5 steps x 64 tokens / 2
    wider = bench.plan("run.env.nproc_per_node=4", config="t", name="r")
    assert "duration" not in dict(preview_summary.lines(wider, offline=True))


# --- how it starts


def test_setup_lines_and_environment(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    setup = 'setup_lines = ["export HF_TOKEN=hush", "export WANDB_API_KEY=$KEY", "ulimit -n 9"]\n'
    bench.env(setup + 'startup_commands = ["hostname"]\nenv_vars = { A = "b c" }\nsecrets = ["S"]\n')
    out = _shown(bench.plan(), capsys)
    for row in (
        "HF_TOKEN=(not shown)",
        "WANDB_API_KEY=$KEY",
        "ulimit -n 9",
        "hostname",
        "A='b c'",
        "S (secret, by name",
    ):
        assert row in out
    assert "hush" not in out


def _agents(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> list[str]:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    from node_agent_lib import command, spec

    path = Path(plan.job_root) / "agent.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(plan.texts["agent.json"])
    loaded = spec.load(str(path))
    agent = f"{loaded.code_dir}/recipes/node_agent.py"
    head = "$HEAD_NODE" if loaded.nnodes > 1 else None
    return command.training_command(loaded, loaded.python, agent, "$TMP", 0, head)


@pytest.mark.parametrize("more", ["", 'launcher = "ft"\n', "nodes = 1\n"])
def test_the_command_is_the_agents_own(
    quick: None, bench: Bench, monkeypatch: pytest.MonkeyPatch, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conftest import make_checkout

    checkout = Bench(make_checkout(bench.root.parent / "real").root)
    checkout.env(SLURM.replace("nodes = 2\n", "" if "nodes" in more else "nodes = 2\n") + more)
    plan = checkout.plan(profile="far")
    assert preview_start.training_command(plan) == _agents(monkeypatch, plan)
    shown = _joined(_shown(plan, capsys))
    module = "nvidia_resiliency_ext.fault_tolerance.launcher" if "ft" in more else "torch.distributed.run"
    assert f"python3 -m {module} --nnodes" in shown
    assert "worker $LAUNCH_JOB_DIR/code/recipes/stub.py --config $LAUNCH_JOB_DIR/config.yaml" in shown


# --- the script


def test_a_long_script_is_shown_by_its_own_lines(quick: None, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.env(SLURM)
    plan = bench.plan(profile="far")
    out = _shown(plan, capsys)
    assert out.endswith(f"#SBATCH --nodes=2\nsrun {plan.job_dir}/agent.json\n")
    assert "script: 65 lines, sha256 " in out and "complete: --full" in out and "# theirs" not in out
    assert "Run with" not in out
    assert _shown(plan, capsys, FULL).endswith(f"as it is\n{plan.script}\n")


@pytest.mark.parametrize("view", [View(), FULL])
def test_the_script_is_not_wrapped(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, view: View
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    plan = bench.plan(f"run.env.remote_job_dir={'/a' * 200}")
    assert _shown(plan, capsys, view).endswith(plan.script)


# --- columns and colours


@pytest.mark.parametrize("view", [View(offline=True), View(offline=True, full=True)])
def test_80_columns_hold(
    quick: None, bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, view: View
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bench.env(SLURM + f'remote_job_dir = "{"/long" * 30}"\nsetup_lines = ["{"x" * 500}"]\n')
    plan = bench.plan(f"value={'y' * 300}", profile="far")
    finding = Finding("warning", "w", "z" * 300, "f" * 200)
    out = _shown(plan, capsys, view, finding, replace(finding, level="note"))
    ours = out[: out.rindex("  script: ")].splitlines()
    assert max(map(len, ours)) <= 80


def test_no_colour_when_piped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in _shown(bench.plan(), capsys)


@pytest.mark.parametrize(
    ("no_color", "theme", "coloured"), [("", "dark", True), ("1", "dark", False), ("", "plain", False)]
)
def test_colours_of_a_dry_run(
    launch: Cli, monkeypatch: pytest.MonkeyPatch, no_color: str, theme: str, coloured: bool
) -> None:
    launch.bench.env(f'[cli]\ntheme = "{theme}"\n')
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert ("\x1b[" in launch("stub", "--dry-run", "steps=3")[1]) is coloured


# --- everything


def test_full_shows_every_part_with_its_source(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    out = _shown(bench.plan("value=a b"), capsys, FULL)
    for part in ("code/recipes/stub.py", "config.yaml", "LAUNCH_JOB_ID", "# env.toml [local]", "# stub/default.yaml:1"):
        assert part in out
    config = out[out.index("config default") :].splitlines()
    assert config[1] == '  * value = "a b"    # override value=a b', "what was changed stands first"


def test_full_hides_what_has_no_effect_here(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    spec = '[tool.runspec]\nimage = "nvcr.io/x"\n[tool.runspec.run]\nlaunch = "torchrun"\n'
    bench.script("stub", f'{spec}[tool.runspec.config]\ndir = "stub"\n[tool.runspec.resources]\ngpus_per_node = 8')
    plan = bench.plan()
    assert (plan.profile.gpus_per_node, plan.profile.container_image) == (8, "nvcr.io/x")
    for view in (View(), FULL):
        out = _shown(plan, capsys, view)
        assert "gpus_per_node" not in out and "nvcr.io" not in out and "GPU" not in out


@pytest.mark.parametrize("value", ["[bold]x[/bold]", "[red", ":smile:", "a\\nb", "ünï 🎉", "'"])
@pytest.mark.parametrize("view", [View(), FULL])
def test_values_are_shown_as_they_are(bench: Bench, capsys: pytest.CaptureFixture[str], value: str, view: View) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert f"value = {text}" in _shown(bench.plan(f"value={text}"), capsys, view)


def test_a_value_of_a_secret_is_never_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.env('secrets = ["TOKEN"]\n')
    bench.environ = {"TOKEN": "hush-hush"}
    for view in (View(), FULL):
        out = _shown(bench.plan("value=${oc.env:TOKEN}"), capsys, view)
        assert "hush-hush" not in out
        assert "TOKEN" in out


def test_the_document_is_the_plans_with_findings(bench: Bench) -> None:
    plan = bench.planned("tokenizer: /no/such/directory\n")
    document = preview.document(plan, checks.run(plan))
    assert document["plan_hash"] == plan.plan_hash
    assert document["script"] == plan.script
    assert {"level", "code", "message", "fix"} == set(document["findings"][0])
    assert json.loads(json.dumps(document, allow_nan=False))["config"] == plan.config


def test_findings_as_text() -> None:
    text = preview.findings_text([Finding("error", "a", "one", "mend"), Finding("note", "b", "two")])
    assert text.splitlines() == ["error: [a] one", "  fix: mend", "note: [b] two"]
    assert preview.findings_text([]) == ""


@pytest.mark.parametrize(("to", "other"), [("stdout", "stderr"), ("stderr", "stdout")])
def test_findings_as_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch, to: str, other: str) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(getattr(sys, to), "isatty", lambda: True, raising=False)
    found = [Finding("error", "a", "one word after another " * 5, "mend this and that " * 5)]
    text = preview.findings_text(found, getattr(sys, to), "step data: ")
    assert max(map(len, text.splitlines())) <= 50
    assert (
        _joined(text)
        == f"step data: error: [a] {'one word after another ' * 5}fix: {'mend this and that ' * 5}".strip()
    )
    assert len(preview.findings_text(found, getattr(sys, other), "step data: ").splitlines()) == 2  # a file has no edge


# --- the goal


def test_the_example_on_one_screen(checkout: Checkout) -> None:
    """README's Slurm line, as a person with an edited profile and no data yet sees it first."""
    env = {"COLUMNS": "80", "LAUNCH_ENV": str(ROOT / "env.toml")}
    done = checkout.run("pretrain", "-c", "tiny", "--run", "dgx", "--dry-run", "--offline", env=env)
    lines = done.stdout.splitlines()
    assert done.returncode in (0, 3), done.stderr
    assert len(lines) < 60
    first = "\n".join(lines[:12])
    for part in ("pretrain-tiny-", "profile dgx", "slurm", "8 ranks", "partition batch", "04:00:00", "GPU-hours"):
        assert part in first
    assert "no limit in all" in first and "parameters" in first and "not looked at" in first
    assert "nothing is wrong" in first or "it would not be submitted (no-data" in first
    assert [line for line in lines if line.startswith("#SBATCH --time=04:00:00")]
    assert lines[-1].startswith("srun ")
