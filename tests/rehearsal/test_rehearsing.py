"""A rehearsal from the plan to its findings: what is sent, what is kept, and what becomes of each way to go wrong."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import automodel_launch as al
from automodel_launch.errors import PlanRefused
from automodel_launch.executors import job_python
from automodel_launch.executors.job_python import NotAtHand
from automodel_launch.executors.slurm.executor import EXECUTOR as SLURM
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.rehearsal import rehearsing, running, stamp, text, wanted
from automodel_launch.rehearsal import request as request_
from automodel_launch.remote import gpus
from tests.conftest import ROOT, wait_for
from tests.rehearsal.conftest import Stage, left
from tests.workbench import plan_on_slurm

REFUSED = ("how=refused",)


def _only(findings: list[Finding], level: str, code: str) -> Finding:
    assert [(found.level, found.code) for found in findings] == [(level, code)], findings
    return findings[0]


def _starts_the_class(stage: Stage) -> None:
    """Make the recipe one that is rehearsed without being asked."""
    recipes = stage.bench.workspace.recipes
    (recipes / "pretrain_lib").mkdir()
    text_ = (recipes / "stub.py").read_text()
    (recipes / "stub.py").write_text(
        text_.replace("# [tool.runspec]", '# [tool.runspec]\n# code = ["pretrain_lib"]', 1)
    )


# --- what is sent, and what is kept


def test_a_plan_that_goes_well_is_asked_about_once(stage: Stage) -> None:
    first, again = (stage.rehearse(stage.plan("optimizer.lr=3.0")) for _ in range(2))
    assert (first.cached, again.cached, len(stage.calls())) == (False, True, 1)
    assert first.findings == again.findings and first.document == again.document
    note = _only(first.findings, "note", "rehearsal")
    assert "AutoModel" in note.message and "on this machine" in note.message and "rank 0 of 2" in note.message
    request = stage.calls()[0]["request"]
    assert (request["world_size"], request["script"], request["job_python"]) == (2, "stub.py", True)
    assert request["config"]["optimizer"] == {"lr": 3.0} and request["base"]["optimizer"] == {"lr": 1.0}
    assert request["overrides"] == ["+recipe=own.Recipe", "optimizer.lr=3.0"]
    assert set(stage.calls()[0]["beside"]) == {"node_agent.py", "rehearse.py", "rehearse_lib", "stub.py"}
    assert left() == []


def test_numbers_that_json_lacks_are_sent_as_numbers(stage: Stage) -> None:
    """A clipping at .inf is none; the string 'inf' would be a fault that the job does not have."""
    stage.rehearse(stage.plan("optimizer.lr=4.0", more="clip: {max_norm: .inf}\n"))
    (call,) = stage.calls()
    assert call["request"]["config"]["clip"] == call["request"]["base"]["clip"] == {"max_norm": float("inf")}


def test_whether_a_job_has_gpus(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here they are counted; a partition may give some where the profile names no number."""
    here = stage.plan()
    monkeypatch.setattr(gpus, "count", lambda: 0)
    assert not request_._has_gpus(here)
    monkeypatch.setattr(gpus, "count", lambda: 2)
    assert request_._has_gpus(here)
    for keys, has in (("", True), ("gpus_per_node = 0", False), ("gpus_per_node = 4", True)):
        assert request_._has_gpus(plan_on_slurm(stage.bench, keys)) == has


def test_what_an_answer_depends_on(stage: Stage) -> None:
    """The config, the world size, the program and the files; not the run's name, nor the time that it may take."""
    tokenizer = stage.root / "tokenizer"
    tokenizer.mkdir()
    more = f"dataset: {{tokenizer: {{_target_: x.y, pretrained_model_name_or_path: {tokenizer}}}}}\n"

    def asked(*texts: str, **options: str) -> bool:
        before = len(stage.calls())
        stage.rehearse(stage.plan(*texts, more=more, **options))
        return len(stage.calls()) > before

    assert asked() and not asked() and not asked(name="another")
    assert not asked("run.env.rehearse=7")
    assert asked("run.env.nproc_per_node=3") and asked("optimizer.lr=2.0")
    (tokenizer / "tokenizer.json").write_text("{}")
    assert asked() and not asked()
    (stage.bench.workspace.recipes / "rehearse_lib" / "stages.py").write_text("# newer\n")
    assert asked()


def test_a_memory_rehearsal_is_another_one(stage: Stage) -> None:
    stage.rehearse(stage.plan())
    stage.rehearse(stage.plan(), "memory")
    assert [call["request"]["memory"] for call in stage.calls()] == [False, True]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1, "outcome": "passed", "ranks": 3}', "[" * 10**5])
def test_a_broken_answer_in_the_cache_is_asked_for_again(stage: Stage, content: str) -> None:
    stage.rehearse(stage.plan())
    (kept,) = stage.answers.glob("*.json")
    kept.write_text(content)
    assert not stage.rehearse(stage.plan()).cached
    assert stage.rehearse(stage.plan()).cached


def test_a_cache_that_cannot_be_written_keeps_nothing(stage: Stage) -> None:
    stage.answers.parent.mkdir()
    stage.answers.write_text("a file stands there")
    assert [stage.rehearse(stage.plan()).cached for _ in range(2)] == [False, False]


def test_the_oldest_answers_go(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.rehearsal.cache.KEPT", 2)
    for rate in (1.0, 2.0, 3.0):
        stage.rehearse(stage.plan(f"optimizer.lr={rate}"))
    assert len(list(stage.answers.iterdir())) == 2
    assert stage.rehearse(stage.plan("optimizer.lr=3.0")).cached


def test_two_launches_at_once(stage: Stage) -> None:
    plan = stage.plan()
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(stage.rehearse(plan))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [_only(outcome.findings, "note", "rehearsal").level for outcome in outcomes] == ["note", "note"]
    assert [path.suffix for path in stage.answers.iterdir()] == [".json"]
    assert left() == []


def test_no_secret_leaves_the_shell(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that the profile names, nor one that its name gives away."""
    for name in ("MY_OWN", "OTHER_API_KEY"):
        monkeypatch.setenv(name, "s3cr3t-value-of-it")
    stage.bench.env('[s]\nextends = "local"\nsecrets = ["MY_OWN"]\nenv_vars = {HF_HOME = "/hf", SEEN = "1"}\n')
    plan = stage.plan(more="wandb: {key: '${oc.env:MY_OWN}', at: '${oc.env:SLURM_JOB_ID}'}\n", profile="s")
    stage.rehearse(plan)
    (call,) = stage.calls()
    assert not {"MY_OWN", "OTHER_API_KEY"} & set(call["environ"])
    assert call["request"]["secrets"] == ["MY_OWN"] and call["request"]["env"] == {"HF_HOME": "/hf"}
    (kept,) = stage.answers.glob("*.json")
    assert "s3cr3t" not in stage.log.read_text() + kept.read_text()


def test_a_secret_that_an_override_replaces_is_not_told_to_explain_it(stage: Stage) -> None:
    token = "hf_" + "a1" * 15
    plan = stage.plan("api.token=null", more=f"api: {{token: {token}}}\n")
    assert plan.base is None and token not in json.dumps(plan.document())


def test_the_base_and_the_overrides_are_no_part_of_the_hash(stage: Stage) -> None:
    typed, written = stage.plan("optimizer.lr=1.0"), stage.plan()
    assert typed.base is not None and typed.overrides != written.overrides
    assert typed.config == written.config
    assert "base" not in typed.document() and "overrides" not in typed.document()


# --- findings


def test_a_refusal_names_key_source_exception_and_line(stage: Stage) -> None:
    found = _only(stage.rehearse(stage.plan(*REFUSED)).findings, "error", "rehearsal")
    for part in ("optimizer", "t.yaml:3", "TypeError: AdamW.__init__()", "torch/optim/adamw.py:45", "super().__init__"):
        assert part in found.message
    assert "/somewhere" not in found.message and "--no-rehearse" in (found.fix or "")


def test_a_refusal_by_an_override_quotes_it(stage: Stage) -> None:
    refusal = "key: optimizer.lr, key_by: override, override: optimizer.lr=7.0, text: '', source: 'assert lr < 1'"
    refusal = f"refusal: {{{refusal}}}\n"
    found = _only(stage.rehearse(stage.plan(*REFUSED, "optimizer.lr=7.0", more=refusal)).findings, "error", "rehearsal")
    assert found.message.startswith("optimizer.lr = 7.0 (override optimizer.lr=7.0): ")
    assert "`assert lr < 1`" in found.message and "TypeError, no words" in found.message
    assert "optimizer.lr=7.0" in (found.fix or "")


@pytest.mark.parametrize(
    ("stage_", "words"),
    [("setup", "in AutoModel's set-up"), ("step", "first training step"), ("{x}", "at the stage '{x}'")],
)
def test_a_refusal_says_when(stage: Stage, stage_: str, words: str) -> None:
    findings = stage.rehearse(stage.plan(*REFUSED, more=f"refusal: {{stage: '{stage_}'}}\n")).findings
    assert words in _only(findings, "error", "rehearsal").message


def test_a_refusal_without_a_key(stage: Stage) -> None:
    refusal = "refusal: {key: null, key_by: null, file: null, line: null, source: null, rank: 3}\n"
    found = _only(stage.rehearse(stage.plan(*REFUSED, more=refusal)).findings, "error", "rehearsal")
    assert found.message.startswith("the job would fail, on rank 3 of 2")


@pytest.mark.parametrize(("outcome", "words"), [("partial", "in part"), ("not-rehearsed", "not rehearsed")])
def test_what_was_not_rehearsed_is_a_note(stage: Stage, outcome: str, words: str) -> None:
    entry = "{reason: package, text: flash_attn is not installed, package: flash_attn}"
    outcome_ = stage.rehearse(stage.plan(more=f"answer: {{outcome: {outcome}, partial: [{entry}]}}\n"))
    note = _only(outcome_.findings, "note", "rehearsal-partial")
    assert words in note.message and "flash_attn is not installed" in note.message


@pytest.mark.parametrize("reason", ["time", "hub", "memory"])
def test_what_may_go_well_another_time_is_not_kept(stage: Stage, reason: str) -> None:
    plan = stage.plan(more=f"answer: {{outcome: partial, partial: [{{reason: {reason}, text: x}}]}}\n")
    assert [stage.rehearse(plan).cached for _ in range(2)] == [False, False]


def test_memory_is_told_by_what_it_is_for(stage: Stage) -> None:
    parts = "{weights: 1073741824, activations: 2147483648, peak: 3221225472}"
    more = f"answer: {{memory: {{rank: {{'0': {parts}}}}}}}\n"
    findings = stage.rehearse(stage.plan(more=more), "memory").findings
    assert [found.level for found in findings] == ["note", "note"]
    assert "rank 0 holds 3.00 GiB at its peak: weights 1.00, activations 2.00 GiB" in findings[0].message


# --- ways to go wrong


@pytest.mark.parametrize(("how", "words"), [("dies", "torch is broken"), ("talks", "exit code 0")])
def test_a_rehearsal_that_fails_itself_is_a_note(stage: Stage, how: str, words: str) -> None:
    note = _only(stage.rehearse(stage.plan(f"how={how}")).findings, "note", "rehearsal-partial")
    assert words in note.message
    assert left() == []


def _is_gone(pid: int) -> bool:
    try:
        os.killpg(os.getpgid(pid), 0)
    except ProcessLookupError:
        return True
    return False


def test_one_that_hangs_is_ended_with_what_it_has_started(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.rehearsal.script.GRACE_S", 0)
    for limit_s in (1, 5, 25, 125):  # the first in which it has come to hang
        found = stage.rehearse(stage.plan("how=hangs", f"run.env.rehearse={limit_s}")).findings
        assert f"within {limit_s} s" in _only(found, "note", "rehearsal-partial").message
        if stage.calls():
            break
    (call,) = stage.calls()
    wait_for(lambda: _is_gone(call["pid"]))  # what was killed is a zombie until its new parent has looked
    assert left() == []


@pytest.mark.parametrize("hangs", [True, False])
def test_nobody_waits_twice_for_what_was_late(stage: Stage, hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the program has noticed it by itself or not; who asks, or gives it more time, does."""
    monkeypatch.setattr("automodel_launch.rehearsal.script.GRACE_S", 0)
    late = "" if hangs else "answer: {outcome: partial, partial: [{reason: time, text: x}]}\n"
    _starts_the_class(stage)
    made: list[float] = []

    def run(*args: Any) -> Any:
        made.append(args[-1])
        return real(*args)

    real = running.run
    monkeypatch.setattr(running, "run", run)
    plan = stage.plan(*(["how=hangs"] if hangs else []), more=late)
    once, longer, asked = wanted.Wanted(1), wanted.Wanted(2), wanted.Wanted(1, asked=True)
    for option, calls in ((once, 1), (once, 1), (longer, 2), (asked, 3)):
        outcome = rehearsing.rehearse(plan, option, stage.answers)
        _only(outcome.findings, "note", "rehearsal-partial")
        assert len(made) == calls, option


def test_ctrl_c_leaves_nothing(stage: Stage) -> None:
    """The launcher is interrupted while the rehearsal runs; so is one that SIGTERM ends."""
    plan = stage.plan("how=hangs")

    def interrupt() -> None:
        wait_for(stage.calls)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        stage.rehearse(plan)
    assert left() == []
    wait_for(lambda: _is_gone(stage.calls()[0]["pid"]))


def test_an_installation_without_the_program_says_so(stage: Stage) -> None:
    (stage.bench.workspace.recipes / "rehearse.py").unlink()
    note = _only(stage.rehearse(stage.plan()).findings, "note", "rehearsal-partial")
    assert "rehearse.py" in note.message


def test_a_python_that_is_not_there(stage: Stage) -> None:
    note = _only(stage.rehearse(stage.plan("run.env.python=/no/such/python")).findings, "note", "rehearsal-partial")
    assert "no such program" in note.message


def test_another_python_is_asked_what_it_has(stage: Stage) -> None:
    """Not the launcher's own; so its packages are told by itself."""
    link = stage.root / "python"
    link.symlink_to(sys.executable)
    outcomes = [stage.rehearse(stage.plan(f"run.env.python={link}")) for _ in range(2)]
    assert [outcome.cached for outcome in outcomes] == [False, True]


def test_the_stamp_sees_a_package_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [str(packages)])
    before = stamp.stamp(["/no/such", "nul\0"])
    (packages / "wandb-0.1.dist-info").mkdir()
    assert stamp.stamp(["/no/such", "nul\0"]) != before


# --- when one is made


@pytest.mark.parametrize(
    ("keys", "option", "submits", "expected"),
    [
        ("", None, True, None),  # on this machine the job itself starts as quickly
        ("rehearse = 9", None, True, wanted.Wanted(9)),
        ("rehearse = 9", None, False, None),
        ('rehearse = "off"', "on", False, wanted.Wanted(wanted.ASKED_S, asked=True)),
        ("rehearse = 9", "memory", True, wanted.Wanted(9, asked=True, memory=True)),
        ("rehearse = 9", "off", True, None),
    ],
)
def test_when_on_this_machine(
    stage: Stage, keys: str, option: wanted.Option, submits: bool, expected: wanted.Wanted | None
) -> None:
    stage.bench.env(f'[p]\nextends = "local"\n{keys}\n')
    assert wanted.of(stage.plan(profile="p"), option, submits) == expected


@pytest.mark.parametrize(
    ("keys", "seconds"), [("", wanted.AUTO_S), ('rehearse = "auto"', wanted.AUTO_S), ('rehearse = "off"', None)]
)
def test_when_on_slurm(stage: Stage, keys: str, seconds: int | None) -> None:
    plan = plan_on_slurm(stage.bench, keys)
    found = wanted.of(plan, None, True)
    assert (found and found.seconds) == seconds
    assert wanted.of(plan, None, False) is None


@pytest.mark.parametrize("option", ["on", None])
def test_a_plan_with_errors_is_not_rehearsed(stage: Stage, option: wanted.Option) -> None:
    from automodel_launch.launch import checking

    plan = stage.plan("run.env.rehearse=9")
    error = Finding("error", "wrong", "it is wrong")
    outcome = checking.rehearse(plan, [error], stage.answers, option, submits=True)
    assert stage.calls() == []
    assert [found.code for found in outcome.findings] == (["rehearsal-partial"] if option else [])


@pytest.mark.parametrize("asked", [True, False])
def test_a_plain_script_is_not_rehearsed(tmp_path: Path, asked: bool) -> None:
    from tests.workbench import make_bench

    outcome = rehearsing.rehearse(make_bench(tmp_path).plan(), wanted.Wanted(9, asked=asked), tmp_path / "answers")
    assert [found.code for found in outcome.findings] == (["rehearsal-partial"] if asked else [])


@pytest.mark.parametrize(("part", "option", "calls"), [("", None, 0), ("", "on", 1), ("pretrain_lib", None, 1)])
def test_a_script_of_ones_own_is_rehearsed_where_one_asks(
    stage: Stage, part: str, option: wanted.Option, calls: int
) -> None:
    """It need not do what the rehearsal tries."""
    if part:
        _starts_the_class(stage)
    stage.rehearse(stage.plan("run.env.rehearse=9"), option, submits=True)
    assert len(stage.calls()) == calls


def test_no_rehearse_starts_nothing(stage: Stage) -> None:
    outcome = stage.rehearse(stage.plan("run.env.rehearse=9"), "off", submits=True)
    assert (outcome.findings, stage.calls()) == ([], [])


# --- where the job's Python is


def _on_slurm(stage: Stage, keys: str) -> job_python.JobPython | NotAtHand:
    plan: Plan = plan_on_slurm(stage.bench, keys)
    return SLURM.job_python(plan)


@pytest.mark.parametrize(
    ("keys", "own"),
    [
        ('container_image = "none"', False),
        ('container_image = "none"\npython = "/usr/bin/python3"', False),
        ('container_image = "none"\npython = "/shared/venv/bin/python"', True),
        ('container_image = "none"\npython = "/shared/venv/bin/python"\nsetup_lines = "module load cuda"', True),
    ],
)
def test_bare_nodes_have_the_login_nodes_python(stage: Stage, keys: str, own: bool) -> None:
    found = _on_slurm(stage, keys)
    assert isinstance(found, job_python.JobPython) and found.own is own


@pytest.mark.parametrize(
    ("keys", "fix"),
    [
        ('container_image = "nvcr.io/nvidia/nemo-automodel:26.04"', 'rehearse_in = "srun"'),
        ('container_image = "none"\nsetup_lines = "module load python"', "python ="),
        ('rehearse_in = "srun"\ncontainer_image = "none"\nstartup_commands = ["true"]', None),
    ],
)
def test_a_python_that_only_the_job_has(stage: Stage, keys: str, fix: str | None) -> None:
    found = _on_slurm(stage, keys)
    assert isinstance(found, NotAtHand)
    assert (fix or "") in (found.fix or "")


def test_offline_asks_no_login_node(stage: Stage) -> None:
    keys = 'container_image = "none"\ntunnel = "ssh"\nhost = "nowhere.invalid"\nremote_job_dir = "/jobs"'
    plan = plan_on_slurm(stage.bench, f'executor = "slurm"\nnproc_per_node = 2\n{keys}')
    note = _only(stage.rehearse(plan, offline=True).findings, "note", "rehearsal-partial")
    assert "--offline" in note.message


def test_a_host_that_does_not_answer_is_a_note(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = 'container_image = "none"\ntunnel = "ssh"\nhost = "nowhere.invalid"\nremote_job_dir = "/jobs"'
    plan = plan_on_slurm(stage.bench, f'executor = "slurm"\nnproc_per_node = 2\n{keys}')
    note = _only(stage.rehearse(plan).findings, "note", "rehearsal-partial")
    assert "nowhere.invalid" in note.message


def test_the_stages_that_are_worded_are_those_of_the_program() -> None:
    program = (ROOT / "recipes" / "rehearse_lib" / "stages.py").read_text()
    assert set(re.findall(r'\.at\("(\w+)"\)', program)) == set(text._STAGES)


def test_from_python(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.api.workspaces.find", lambda *args: stage.bench.workspace)
    plan = stage.plan(*REFUSED)
    assert "rehearsal" not in [found.code for found in al.check(plan)] and stage.calls() == []
    assert [found.code for found in al.check(plan, rehearse=True) if found.level == "error"] == ["rehearsal"]
    with pytest.raises(PlanRefused) as refused:
        al.submit(plan, rehearse=True)
    assert "[rehearsal] optimizer" in refused.value.message
    assert len(stage.calls()) == 1


def test_sigterm_is_raised_while_it_runs() -> None:
    with pytest.raises(SystemExit) as ended, running._raised():
        os.kill(os.getpid(), 15)
    assert ended.value.code == 143
