"""The door to NeMo-Run, and what is done there that a later version may make needless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automodel_launch.executors import nemo
from tests.conftest import ROOT

IMPORTS = f"import sys, nemo_run; print(*(name for name in {('torch', *nemo.NOT_USED)} if sys.modules.get(name)))"
THROUGH_OUR_DOOR = """
import sys
from pathlib import Path
from automodel_launch.executors import nemo
nemo._import()
assert "nemo_run" in sys.modules
left = {name.partition(".")[0] for name in sys.modules} & {"torch", *nemo.NOT_USED}
assert not left, left
import torch  # the way is free again
from nemo_run.run.torchx_backend.schedulers import lepton
assert "Starting" in lepton.LeptonJobState.__members__, "no stand-in stays"
import jinja2, paramiko
from nemo_run.core.execution import utils
assert issubclass(utils.jinja2.Environment, jinja2.Environment), "who uses one as a module gets the real one"
assert utils.jinja2.Environment is not jinja2.Environment, "which compiles a template once: nemo_once"
assert issubclass(paramiko.SSHException, Exception)
"""
AS_A_BASE = """
from automodel_launch.executors import stand_ins
with stand_ins.of("json", "none_of_this_name"):
    import none_of_this_name
    import json.decoder
    class Own(json.decoder.Made.In.It, json.Other): pass
    Own(1, key=2)
    assert json.decoder.__name__ == "json.decoder"
    held = json
assert held.loads("[1]") == [1]
import json
assert json.loads("[2]") == [2]
try:
    none_of_this_name.anything
except ModuleNotFoundError:
    print("as it would be without us")
"""


def test_nemo_run_still_imports_them_by_itself() -> None:
    """When this fails, nemo._import need not keep that one away any longer (seen with nemo_run 0.11.1)."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["torch", *nemo.NOT_USED]


@pytest.mark.parametrize("script", [THROUGH_OUR_DOOR, AS_A_BASE], ids=["nemo", "stand-in"])
def test_our_import_leaves_them_out(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)


SLEEPS = """
import sys, types
from pathlib import Path
from automodel_launch.executors import nemo

def slept(ours):
    found = []
    with nemo.experiment("waits", ours, Path(sys.argv[1])) as (run, exp):
        import torchx.runner.api as api
        import time
        seen = Path(sys.argv[1], "seen")
        def sleep(seconds):
            found.append(seconds)
            seen.touch()
        api.time = types.SimpleNamespace(sleep=sleep, time=time.time, perf_counter_ns=time.perf_counter_ns)
        # theirs goes on until it has been looked at
        inline = "sleep 0.5" if ours == "ours" else f"until [ -e {seen} ]; do sleep 0.1; done"
        exp.add(run.Script(inline=inline), executor=run.LocalExecutor(), name="job")
        exp.run(detach=False)
        if ours == "ours":
            nemo.wait(exp)
        written.append(sorted(path.name for path in Path(sys.argv[2]).glob("*/.local_jobs.json*")))
    return found

written = []

assert slept("ours") == [], "it has ended when NeMo-Run looks for the first time"
assert set(slept("theirs")) == {2}, "else it sleeps for two seconds: when it does not, nemo.wait is needless"
assert written == [[".local_jobs.json"]] * 2
import os
os.kill(os.getpid(), 9)
"""


def test_a_local_start_does_not_wait_for_nemo_runs_next_look(tmp_path: Path) -> None:
    """Nor does a launcher that is killed once the job is submitted leave NeMo-Run's folder; one of days ago goes."""
    temporary, long_ago = tmp_path / "tmp", time.time() - 48 * 3600
    for name in ("automodel-launch-nemo-1", "automodel-launch-nemo-2"):
        (temporary / name).mkdir(parents=True)
    os.utime(temporary / "automodel-launch-nemo-1", (long_ago, long_ago))
    environ = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", SLEEPS, str(tmp_path), str(temporary)]
    assert subprocess.run(command, check=False, env=environ).returncode == -signal.SIGKILL
    assert [path.name for path in temporary.glob("automodel-*")] == ["automodel-launch-nemo-2"]


AGAIN = """
import sys
from pathlib import Path
import jinja2, torchx.schedulers
from automodel_launch.executors import nemo, nemo_once
from automodel_launch.executors.slurm import script
from tests.workbench import make_bench, plan_on_slurm

def counting(done, act):
    def counted(*args, **options):
        done.append(args)
        return act(*args, **options)
    return counted

remember, nemo_once.remember = nemo_once.remember, lambda: None
compiled, read = [], []
jinja2.Environment.compile = counting(compiled, jinja2.Environment.compile)
torchx.schedulers.load_group = counting(read, torchx.schedulers.load_group)
plan = plan_on_slurm(make_bench(Path(sys.argv[1])), "")

def made():
    compiled.clear(), read.clear()
    return [script.by_nemo_run(plan) for _ in range(3)], len(compiled), len(read)

theirs, times, reads = made()
assert times == 12, f"two templates, twice a script: {times}; when it is less, nemo_once does it in vain"
assert reads >= 3, f"once an experiment: {reads}; when it is less, nemo_once does it in vain"
remember()
ours, times, reads = made()
assert ours == theirs
assert (times, reads) == (2, 1), (times, reads, read)
"""


def test_what_a_script_needs_is_made_once_a_process(tmp_path: Path) -> None:
    """And the script is the same, to the byte; without us NeMo-Run does it again for each (0.11.1)."""
    subprocess.run([sys.executable, "-c", AGAIN, str(tmp_path)], check=True, cwd=ROOT)
