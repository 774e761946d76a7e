"""What was most likely meant: hints for a tired person's mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from automodel_launch.commands import hints, main, registry
from automodel_launch.commands.launch import OF_SWEEPS
from automodel_launch.plan import recipes
from automodel_launch.workspace import find
from tests.commands.conftest import Cli


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (("stop", "x"), "python launch.py cancel x"),
        (("kill", "x", "--now"), "python launch.py cancel x --now"),
        (("ps",), "python launch.py jobs"),
        (("queue",), "python launch.py jobs"),
        (("list",), "python launch.py jobs"),
        (("log", "x"), "python launch.py logs x"),
        (("tail", "x"), "python launch.py logs x"),
        (("follow", "x"), "python launch.py attach x"),
        (("restart", "x"), "python launch.py resume x"),
        (("profile",), "python launch.py profiles"),
        (("run", "stub", "-c", "t"), "python launch.py stub -c t"),
        (("submit", "stub"), "python launch.py stub --batch PROFILE"),
        (("submit",), "python launch.py RECIPE -c CONFIG --batch PROFILE"),
        (("rm", "x"), "cancel JOB"),
        (("stub.py",), "python launch.py stub"),
        (("--run", "local", "check", "stub"), "python launch.py check --run local stub"),
        (("--json",), "python launch.py --help"),
        (("staus", "x"), "python launch.py status x"),
        (("canel", "x", "--now"), "python launch.py cancel x --now"),
        (("stbu", "-c", "t"), "python launch.py stub -c t"),
        (("train", "-c", "t"), "python launch.py pretrain -c t"),
        (("version",), "python launch.py --version"),
    ],
)
def test_another_word_for_a_command(launch: Cli, argv: tuple[str, ...], hint: str) -> None:
    assert hint in launch.hint(*argv)


def test_every_synonym_leads_to_a_command_and_is_none() -> None:
    assert set(hints.SYNONYMS.values()) <= set(registry.COMMANDS)
    known = {*registry.COMMANDS, *(recipe.name for recipe in recipes.available(find()))}
    assert {*hints.SYNONYMS, *hints._TO_LAUNCH, *hints._TO_DELETE} & known == set()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("t",), "-c t"),
        (("t.yaml",), "-c t.yaml"),
        (("far",), "--run far (attached), or --batch far (detached)"),
        (("fresh",), "--fresh"),
        (("check",), "python launch.py check stub"),
        (("steps",), "steps=VALUE"),
        (("optimizer.lr", "3e-4"), "optimizer.lr=VALUE"),
        (("steps:", "3"), "steps="),
        (("steps", "=", "3"), "no spaces"),
        (("lr=3e-4",), "optimizer.lr=3e-4"),
        (("--lr", "3e-4"), "--optimizer.lr=3e-4"),
        (("--lr=3e-4",), "--optimizer.lr=3e-4"),
        (("eps=1",), "optimizer.eps=1 or model.eps=1"),
        (("nodes=2",), "run.env.nodes=2"),
        (("--nodes", "2"), "run.env.nodes=2"),
        (("--gpus-per-node", "2"), "run.env.gpus_per_node=2"),
        (("--profile", "far"), "--run far"),
        (("--run", "t"), "t is a config of stub: -c t"),
        (("-c", "stub/t.yaml"), "-c t"),
        (("-c", "t.yml"), "-c t"),
        (("-c", "configs/stub/other.yaml"), None),
    ],
)
def test_a_word_behind_a_recipe(launch: Cli, words: tuple[str, ...], hint: str | None) -> None:
    launch.bench.config("steps: 1\noptimizer: {lr: 1.0, eps: 1}\nmodel: {eps: 2}\n")
    launch.bench.config("steps: 1\noptimizer: {lr: 1.0, eps: 1}\nmodel: {eps: 2}\n", "default")
    launch.bench.env('[far]\nextends = "local"\n')
    code, out, err = launch("stub", *words)
    assert (code, out) == (2, ""), err
    said = re.findall(r"^hint: (.*)", err, re.MULTILINE)
    if hint is None:
        assert not any("did you mean" in text or text.startswith("-c ") for text in said)
    else:
        assert hint in said[0]
        assert len(re.findall("Did you mean", err)) == int(
            hint.startswith(("optimizer.lr=3", "--opt", "optimizer.eps"))
        )


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (("logs", "last", "-f"), "--follow?"),
        (("logs", "--all"), "--rank all?"),
        (("cancel", "x", "--nwo"), "--now?"),
        (("jobs", "--jsn"), "--json?"),
        (("image", "import", "local"), "image local import"),
        (("cancel", "all"), "python launch.py cancel JOB"),
        (("exec", "x", "ls", "-l"), "python launch.py exec x -- ls -l"),
        (("exec", "x"), "python launch.py exec x -- nvidia-smi"),
        (("checkpoints", "x", "verfy"), "python launch.py checkpoints x list"),
        (("stub", "--dryrun"), "python launch.py RECIPE --help"),
    ],
)
def test_an_argument_of_a_command(launch: Cli, argv: tuple[str, ...], hint: str) -> None:
    assert hint in launch.hint(*argv)


def test_a_misspelt_command_of_a_recipe(launch: Cli) -> None:
    launch.bench.script("other", '[tool.runspec]\ncommands = ["inspect"]\n[tool.runspec.config]\ndir = "stub"')
    assert launch.hint("other", "inspct", "a dir", "--documents", "3").startswith(
        "python launch.py other inspect 'a dir'"
    )


def test_cancel_names_the_last_job_and_takes_none(launch: Cli) -> None:
    launch.job(1)
    launch.job(2, state=None)
    for command in ("cancel", "pause", "resume"):
        assert launch.hint(command) == f"python launch.py {command} stub-a.2 (the last job)"


@pytest.mark.parametrize(
    ("argv", "code", "kind"),
    [
        (("stop", "x", "--json"), 2, "recipe"),
        (("stub", "lr=1", "--json"), 2, "config"),
        (("stub", "--dryrun", "--json"), 2, "usage"),
        (("stub", "--json", "--run", "nope"), 2, "profile"),
        (("status", "--json"), 2, "job"),
        (("stub", "--json", "+tokenizer=./no-such-directory"), 3, "plan-refused"),
    ],
)
def test_with_json_an_error_is_a_document_and_words(launch: Cli, argv: tuple[str, ...], code: int, kind: str) -> None:
    got, out, err = launch(*argv)
    error = json.loads(out)["error"]
    assert (got, error["exit_code"], error["kind"]) == (code, code, kind)
    assert err.startswith(f"error: {error['message']}\n")
    assert set(error) == {"message", "hint", "exit_code", "kind"}
    assert error["hint"] is None or error["hint"] in err


def test_an_interrupt_is_a_document_too(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("automodel_launch.workspace.find", interrupt)
    code, out, err = launch("jobs", "--json")
    assert (code, json.loads(out)["error"]["kind"], err) == (130, "interrupted", "interrupted\n")


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (
            ("pretrain", "-c", "tiny", "step_scheduler.num_epochs=2"),
            "+step_scheduler.num_epochs=2, which adds it: AutoModel",
        ),
        (("pretrain", "-c", "tiny", "--checkpoint.max_recent_checkpoints=3"), "+checkpoint.max_recent_checkpoints=3,"),
        (("pretrain", "-c", "tiny", "optimizer.foreach=true"), "+optimizer.foreach=true,"),
        (("pretrain", "-c", "tiny", "model.config.rope_theta=1e4"), "+model.config.rope_theta=1e4,"),
        (("pretrain", "-c", "tiny", "distributed.sequence_parallel=true"), "+distributed.sequence_parallel=true,"),
        (("pretrain-bridge", "-c", "tiny", "scheduler.lr_decay_style=cosine"), "+scheduler.lr_decay_style=cosine, "),
        (("pretrain", "-c", "tiny", "step_scheduler.max_stpes=2"), "step_scheduler.max_steps=2; write +"),
        (("pretrain", "-c", "tiny", "--step_scheduler.num_epoch=2"), "write +step_scheduler.num_epoch="),
    ],
)
def test_a_key_that_the_framework_has_and_the_config_lacks(
    argv: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the shipped configs: the form that adds it comes first, and no other key is guessed."""
    assert main.main(["check", *argv]) == 2
    said = capsys.readouterr().err
    assert f"hint: {hint}" in said or (not hint.startswith("+") and hint in said)
    assert ("Did you mean" in said) != hint.startswith("+")


def test_a_pipelines_step_is_told_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = "{recipe: pretrain, config: tiny, overrides: {step_scheduler.num_epochs: 2}}"
    (tmp_path / "p.yaml").write_text(f"steps:\n  train: {step}\n")
    assert main.main(["pipeline", str(tmp_path / "p.yaml"), "--run", "local", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "hint: +step_scheduler.num_epochs=2, which adds it: AutoModel takes it" in said and "Did you" not in said


def test_a_sweep_is_checked_by_its_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "pretrain", "-c", "tiny", "--sweep", "optimizer.lr=1e-3,1e-4"]) == 2
    said = capsys.readouterr().err
    assert "hint: a dry run looks at every point: python launch.py pretrain ... --sweep ... --dry-run" in said
    assert "Did you mean" not in said
    assert set(hints._OF_SWEEPS) == set(OF_SWEEPS)
