"""Jobs of the stub recipe on this machine, through NeMo-Run and the node agent, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import LIMIT_S, Checkout, wait_for

pytestmark = pytest.mark.e2e
MARK = "LAUNCH_TEST_MARK"


def _marked(mark: str) -> list[int]:
    """Processes that carry `mark` in their environment, whoever their parent is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def _start(checkout: Checkout, mark: str, *args: str) -> subprocess.Popen[str] | warm.Process:
    """Start launch.py and wait until rank 0 has logged its second step."""
    process = checkout.start(*args, env={MARK: mark})
    wait_for(lambda: any("step 1 " in log.read_text() for log in checkout.root.glob("runs/*/logs/rank-0.log")))
    return process


def test_a_run_ends_with_success_and_its_records(checkout: Checkout) -> None:
    plan = checkout.json("stub", "--dry-run", "value=a b")
    done = checkout.run("stub", "value=a b")
    assert done.returncode == 0, done.stderr
    assert "value a b" in done.stdout
    assert done.stdout.count("step 0 |") == 1  # rank 0's log only
    job_dir = Path(plan["job_dir"])
    saved = json.loads((job_dir / "plan.json").read_text())
    assert saved["plan_hash"] == plan["plan_hash"]
    assert (job_dir / "script").read_bytes().decode() == plan["script"]
    states = [json.loads(line)["state"] for line in (job_dir / "events.jsonl").read_text().splitlines()]
    assert states == ["submitted", "started", "training", "ended"]
    assert json.loads((job_dir / "exit.json").read_text())["state"] == "COMPLETED"
    metrics = [json.loads(line) for line in (job_dir / "metrics.jsonl").read_text().splitlines()]
    assert [(m["step"], m["loss"]) for m in metrics] == [(0, 9.0), (1, 8.0)]
    assert checkout.json("status", "last")["state"] == "COMPLETED"


def test_a_failed_job_never_looks_successful(checkout: Checkout) -> None:
    done = checkout.run("stub", "fail_rank=1", "code=7")
    assert done.returncode == 7
    assert "FAILED, exit code 7" in done.stderr
    assert "about to fail (rank 1" in done.stderr
    around = [line for line in done.stderr.splitlines() if line.startswith("    | ")]
    assert around[0] == "    | value None"
    assert around[-1] == "    | about to fail"  # of rank 1, which was not followed
    status = checkout.json("status", "last")
    assert (status["state"], status["code"], status["rank"]) == ("FAILED", 7, 1)
    ranks = checkout.run("logs", status["job_id"], "--rank", "all").stdout
    assert "[0] value" in ranks and "[1] value" in ranks


def test_an_exception_is_named_with_its_rank(checkout: Checkout) -> None:
    done = checkout.run("stub", "fail_rank=0", "code=1")
    assert done.returncode == 1
    assert "RuntimeError: the stub's own error (rank 0" in done.stderr
    assert "    | " not in done.stderr, "rank 0's lines stand above"
    assert "RuntimeError: the stub's own error" in done.stdout
    around = [line[6:] for line in checkout.run("status").stdout.splitlines() if line.startswith("    | ")]
    assert around[-1] == "RuntimeError: the stub's own error"
    assert "Traceback (most recent call last):" in around
    assert len(around) <= 15


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_the_job_and_leaves_no_process(checkout: Checkout, number: int, code: int) -> None:
    mark = f"interrupt-{number}-{os.getpid()}"
    recipe = "stub" if number == signal.SIGINT else "stub-one"  # with torchrun's processes once
    process = _start(checkout, mark, recipe, "steps=9000", "pause=0.2")
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, err
    assert "saved" in out  # the ranks were asked, and had time
    assert "CANCELLED" in err
    wait_for(lambda: not _marked(mark))


def test_a_killed_launcher_leaves_no_process(checkout: Checkout) -> None:
    mark = f"killed-{os.getpid()}"
    process = _start(checkout, mark, "stub-one", "steps=9000", "pause=0.2")
    process.kill()
    process.wait()
    wait_for(lambda: not _marked(mark))
    assert checkout.json("status", "last")["state"] == "CANCELLED"


def test_two_runs_at_once_do_not_disturb_each_other(checkout: Checkout) -> None:
    processes = [checkout.start("stub", f"value=number-{n}", "pause=0.5") for n in range(2)]
    outputs = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for n, output in enumerate(outputs):
        assert f"value number-{n}" in output
        assert f"value number-{1 - n}" not in output
    assert len(checkout.json("jobs")) == 2


def test_detached_then_attached_then_cancelled(checkout: Checkout) -> None:
    mark = f"batch-{os.getpid()}"
    launch = ("stub-one", "--batch", "local", "steps=9000", "pause=0.2")
    batch = checkout.run(*launch, env={MARK: mark})
    assert batch.returncode == 0, batch.stderr
    job = batch.stdout.strip()
    assert job.endswith(".1")
    assert "attach" in batch.stderr and "cancel" in batch.stderr
    wait_for(lambda: "step 1 " in checkout.run("logs", job).stdout)
    again = checkout.run(*launch)
    assert again.returncode == 3
    assert again.stderr.count("run-active") == 1  # two jobs of one run would write one set of checkpoints
    assert f"attach {job} follows it" in again.stderr
    attached = checkout.start("attach", job)
    assert attached.stdout is not None
    first = attached.stdout.readline()
    assert first.startswith("value")  # from the first line on
    cancelled = checkout.run("cancel", job[:-1])
    assert cancelled.returncode == 0, cancelled.stderr
    assert "CANCELLED" in cancelled.stdout
    attached.communicate(timeout=LIMIT_S)
    assert attached.returncode == 143
    wait_for(lambda: not _marked(mark))
    assert checkout.run("cancel", job).returncode == 2  # it has ended
    assert checkout.run("resume", job).returncode == 0
    wait_for(lambda: checkout.run("logs", job).stdout.count("step 1 ") == 2)  # in the same file
    assert "is not over" in checkout.run("resume", job).stderr
    paused = checkout.run("pause", job)
    assert "CANCELLED" in paused.stdout, paused.stderr
    refused = checkout.run(*launch)
    assert (refused.returncode, "is paused" in refused.stderr) == (3, True)
    tried = checkout.json("status", job)["history"]
    assert [(row["attempt"], row["state"]) for row in tried] == [(0, "CANCELLED"), (1, "CANCELLED")]


def test_one_process_recipe_and_a_failing_startup_command(checkout: Checkout) -> None:
    commands = '["export GREETING=hi", "test -n \\"$GREETING\\"", "(exit 9)"]'
    env = f'[local]\nexecutor = "local"\nstartup_commands = {commands}\n'
    (checkout.root / "env.toml").write_text(env)
    done = checkout.run("stub-one")
    assert done.returncode == 9, done.stderr
    assert "startup command failed with exit code 9" in done.stderr
