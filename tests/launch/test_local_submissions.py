"""Jobs of this machine: launchers that die while they start one, terminals that are closed, and several at once."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout, wait_for

pytestmark = pytest.mark.e2e

WORK = ("steps=9000", "pause=0.2")
# Where the agent will be called, wait: as a busy machine does.
SLOW = """import os, sys, time, pathlib
if "--detach" in sys.argv:
    pathlib.Path({mark!r}).touch()
    time.sleep(4)
"""


@pytest.fixture
def site(checkout: Checkout) -> Iterator[Checkout]:
    yield checkout
    for row in checkout.json("jobs"):
        if row["state"] == "RUNNING":
            checkout.run("cancel", row["job_id"], "--now")


def _slow_start(site: Checkout) -> Path:
    mark = site.root / "agent-called"
    agent = site.root / "recipes" / "node_agent.py"
    text = agent.read_text()
    agent.write_text(text.replace("import sys\n", SLOW.format(mark=str(mark)) + "import sys\n", 1))
    return mark


def _killed_at(site: Checkout, mark: Path, *args: str) -> None:
    with Path(os.devnull).open("w") as null:
        launcher = site.start(*args, streams=(null.fileno(), null.fileno()), start_new_session=True)
    wait_for(mark.exists)
    launcher.kill()
    launcher.wait()
    mark.unlink()


def test_a_job_whose_launcher_was_killed_is_never_called_unsubmitted(site: Checkout) -> None:
    mark = _slow_start(site)
    _killed_at(site, mark, "stub-one", "--batch", "local", *WORK)
    seen = {site.json("jobs")[0]["state"]}
    again = site.run("stub-one", "--batch", "local", *WORK)
    assert again.returncode == 3, again.stderr
    wait_for(lambda: site.json("jobs")[0]["state"] == "RUNNING")
    assert seen <= {"SUBMITTING", "RUNNING"}
    job = site.json("status", "last")["job_id"]
    assert site.run("cancel", job).returncode == 0
    _killed_at(site, mark, "resume", job)
    seen = {site.json("jobs")[0]["state"]}
    wait_for(lambda: site.json("jobs")[0]["state"] == "RUNNING")
    assert seen <= {"RESUMING", "RUNNING"}
    assert site.run("cancel", job).returncode == 0


def test_a_nemo_run_that_cannot_be_imported_is_found_before_anything_is_written(site: Checkout) -> None:
    """A dry run, which does without it, works; `doctor` finds it."""
    broken = site.root.parent / "broken"
    (broken / "fiddle").mkdir(parents=True)
    (broken / "fiddle" / "__init__.py").write_text("raise ImportError('no such name in typing_extensions')\n")
    site.environ["PYTHONPATH"] = str(broken)
    steps = broken / "steps.yaml"
    steps.write_text("steps: {a: {recipe: stub-one}}\n")
    assert site.run("stub-one", "--run", "local", "--dry-run").returncode == 0
    before = sorted(site.root.rglob("*"))
    for words in (("--batch", "local"), ("--run", "local", "--sweep", "value=1,2"), ()):
        done = site.run(*(("stub-one", *words, *WORK) if words else ("pipeline", str(steps))))
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert done.stderr.count("NeMo-Run cannot be imported") == 1
        assert "no such name in typing_extensions" in done.stderr
        assert "bash scripts/setup.sh" in done.stderr and "Traceback" not in done.stderr
        new = set(site.root.rglob("*")) - {*before}
        assert [path for path in new if "__pycache__" not in path.parts] == []
    done = site.run("doctor", "local")
    assert done.returncode == 3 and "NeMo-Run  " in done.stdout and "typing_extensions" in done.stdout


def test_four_at_once_are_one_job(site: Checkout) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: site.run("stub-one", "--batch", "local", *WORK), range(4)))
    assert sorted(one.returncode for one in done) == [0, 3, 3, 3], [one.stderr for one in done]
    assert len(site.json("jobs")) == 1
    assert len(list((site.root / "runs").glob("stub-one-*.*"))) == 1


class _Terminal:
    """A command with a terminal of its own, which is closed like a window."""

    def __init__(self, site: Checkout, *args: str) -> None:
        self._here, there = pty.openpty()

        def own_session() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            site.command(*args),
            cwd=site.root,
            env=site.environ,
            stdin=there,
            stdout=there,
            stderr=there,
            preexec_fn=own_session,
        )
        os.close(there)
        self.said = ""

    def wait_for(self, text: str) -> None:
        while text not in self.said:
            self.said += os.read(self._here, 4096).decode(errors="replace")

    def close(self) -> int:
        os.close(self._here)
        return self.process.wait(LIMIT_S)


def _started(site: Checkout) -> dict[str, Any]:
    record: dict[str, Any] = site.json("stub-one", "--batch", "local", *WORK)
    log = Path(record["job_dir"], "logs", "rank-0.log")
    wait_for(lambda: log.exists() and "step 1 " in log.read_text())
    return record


def test_looking_at_a_detached_job_never_ends_it(site: Checkout) -> None:
    record = _started(site)
    terminal = _Terminal(site, "attach", record["job_id"])
    terminal.wait_for("step 1 ")
    first = terminal.said.splitlines()[0]
    assert "Ctrl-C leaves it" in first and f"cancel {record['job_id']}" in first
    assert terminal.close() == 129
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        attached = site.start("attach", record["job_id"])
        assert attached.stdout is not None
        attached.stdout.readline()
        attached.send_signal(number)
        _, err = attached.communicate(timeout=LIMIT_S)
        assert attached.returncode == 128 + number, err
        assert f"detached; {record['job_id']} goes on" in err
        assert "Traceback" not in err
    assert site.json("status", "last")["state"] == "RUNNING"


def test_a_closed_terminal_stops_the_job_that_was_started_on_it(site: Checkout) -> None:
    terminal = _Terminal(site, "stub-one", *WORK)
    terminal.wait_for("step 1 ")
    assert terminal.close() == 129
    (exit_file,) = (site.root / "runs").glob("*/exit.json")
    assert json.loads(exit_file.read_text())["state"] == "CANCELLED"
    (log,) = (site.root / "runs").glob("*/logs/rank-0.log")
    assert "saved" in log.read_text()  # it was asked, and had time
