"""`--after JOB` where jobs run on this machine: one after the other, in this terminal."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import LIMIT_S, OVER_SSH, Checkout, Main

pytestmark = pytest.mark.e2e

LAST = ("stub-one", "value=2")


def _waiting(checkout: Checkout, name: str) -> subprocess.Popen[str] | warm.Process:
    """A launch that has said that it waits for that job."""
    waits = checkout.start(*LAST, "--after", name)
    assert waits.stderr is not None
    for line in waits.stderr:
        if f"waiting for {name} (RUNNING" in line:
            return waits
    raise AssertionError(waits.wait(LIMIT_S))


def test_one_after_the_other(checkout: Checkout, main: Main) -> None:
    """Waited for while it runs; then nothing is waited for, and the run is the same one."""
    over = checkout.root / "over"
    first = json.loads(main(checkout, "stub-one", "--batch", "local", f"+until={over}", "--json").stdout)
    name = first["job_id"]
    shown = json.loads(main(checkout, *LAST, "--after", name, "--dry-run", "--json").stdout)
    assert shown["after"] == [first["run_name"]]
    noted = {finding["code"]: finding["message"] for finding in shown["findings"]}
    assert f"it waits for {name} (RUNNING" in noted["waits-for"]
    detached = main(checkout, *LAST, "--batch", "local", "--after", name)
    assert (detached.returncode, "cannot keep a job waiting" in detached.stderr) == (2, True)
    waits = _waiting(checkout, name)
    over.touch()
    _, said = waits.communicate(timeout=LIMIT_S)
    assert waits.returncode == 0, said
    rows = json.loads(main(checkout, "jobs", "--json").stdout)
    assert [row["state"] for row in rows] == ["COMPLETED", "COMPLETED"]
    ended, began = (Path(row["run_dir"], "history.jsonl").read_text().splitlines() for row in rows)
    assert json.loads(ended[-1])["time"] < json.loads(began[0])["time"]
    again = json.loads(main(checkout, *LAST, "--after", f"{name}, last", "--dry-run", "--json").stdout)
    assert ("after" in again, again["run_name"]) == (False, rows[1]["run_name"])


def test_ctrl_c_ends_the_waiting_and_nothing_else(checkout: Checkout, main: Main) -> None:
    first = main(checkout, "stub-one", "--batch", "local", "steps=9000", "pause=0.1").stdout.strip()
    waits = _waiting(checkout, first)
    waits.send_signal(signal.SIGINT)
    _, said = waits.communicate(timeout=LIMIT_S)
    assert waits.returncode == 130, said
    assert [row["job_id"] for row in json.loads(main(checkout, "jobs", "--json").stdout)] == [first]
    assert main(checkout, "cancel", first, "--now").returncode == 0
    refused = main(checkout, *LAST, "--after", first, "--force")
    assert (refused.returncode, "has not completed" in refused.stderr) == (3, True)
    assert f"python launch.py resume {first}" in refused.stderr


@pytest.mark.parametrize(
    ("after", "code", "said"),
    [("nothing", 2, "no job"), ("", 2, "its value is empty"), (",", 2, "expected the id"), ("--offline", 2, "--after")],
)
def test_what_is_no_job(checkout: Checkout, main: Main, after: str, code: int, said: str) -> None:
    refused = main(checkout, *LAST, "--after", after, "--dry-run")
    assert (refused.returncode, said in refused.stderr, "Traceback" in refused.stderr) == (code, True, False)


def test_a_cluster_is_not_asked_offline(checkout: Checkout, main: Main) -> None:
    with (checkout.root / "env.toml").open("a") as file:
        file.write("[dgx]" + OVER_SSH)
    first = json.loads(main(checkout, "stub-one", "--batch", "local", "--json").stdout)
    path = checkout.root / ".launch" / "jobs" / f"{first['job_id']}.json"
    far = {**json.loads(path.read_text()), "executor": "slurm"}
    far["handle"] = {"tunnel": "ssh", "host": "login.example.org", "slurm_id": "7"}
    path.write_text(json.dumps(far))
    refused = main(checkout, "stub-one", "--batch", "dgx", "--dry-run", "--offline", "--after", first["job_id"])
    assert (refused.returncode, "--offline asks nothing" in refused.stderr) == (2, True), refused.stderr
