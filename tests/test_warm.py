"""What a test starts by way of the warm server is a launch.py like any other."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import Checkout, clean_environ, wait_for

PROBE = """
import atexit, json, os, resource, signal, sys, threading
atexit.register(print, "left in order", flush=True)
if "fail" in sys.argv:
    raise ValueError("the script's own")
if "die" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
facts = {
    "environ": dict(sorted(os.environ.items())), "cwd": os.getcwd(), "argv": sys.argv, "path": sys.path[0],
    "main": __name__, "file": __file__, "threads": threading.active_count(),
    "ours": [name for name in sys.modules if name.partition(".")[0] in ("automodel_launch", "tests")],
    "streams": [[s.encoding, s.errors, s.line_buffering, s.isatty(), s.seekable()] for s in (sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "files": sorted(os.listdir("/proc/self/fd"))[:3],
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE), "umask": os.umask(0), "cpus": len(os.sched_getaffinity(0)),
    "open": len(os.listdir("/proc/self/fd")),
}
print(json.dumps(facts))
sys.exit(3)
"""


@pytest.fixture
def site(tmp_path: Path) -> Checkout:
    (tmp_path / "launch.py").write_text(PROBE)
    return Checkout(tmp_path, {**clean_environ(), "PROBE": "a\udcffb", "HOME": str(tmp_path)})


def both(site: Checkout, *args: str) -> list[subprocess.CompletedProcess[str]]:
    """What comes of it warm, and cold."""
    return [site.run(*args, cwd=site.root.parent), site.run(*args, cwd=site.root.parent, stdin=subprocess.DEVNULL)]


def test_it_finds_what_a_cold_start_finds(site: Checkout) -> None:
    cpus, mask, (soft, hard) = os.sched_getaffinity(0), os.umask(0o027), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, {min(cpus)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    try:
        warm_one, cold_one = both(site, "a recipe", "v=\u00fc\udcff")
    finally:
        os.sched_setaffinity(0, cpus)
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert warm_one.stdout.splitlines()[1:] == ["left in order"]
    found, expected = (json.loads(done.stdout.splitlines()[0]) for done in (warm_one, cold_one))
    assert found == expected
    assert (found["main"], found["ours"], found["environ"]["PROBE"]) == ("__main__", [], "a\udcffb")
    assert (found["limits"], found["umask"], found["cpus"]) == ([soft - 7, hard], 0o027, 1)
    assert (warm_one.returncode, warm_one.stderr) == (cold_one.returncode, cold_one.stderr) == (3, "")


def test_an_error_of_its_own(site: Checkout) -> None:
    for done in both(site, "fail"):
        assert (done.returncode, done.stdout) == (1, "left in order\n")
        assert done.stderr.startswith("Traceback") and done.stderr.endswith("ValueError: the script's own\n")


ENDS = """
import atexit, sys, threading, time
sys.stdout = open(1, "w", closefd=False)  # with a buffer, also where PYTHONUNBUFFERED is set
print("unflushed", end="")
print("an error's line", file=sys.stderr)
threading.Thread(target=lambda: (time.sleep(0.2), print(" the thread's", end=""))).start()
atexit.register(lambda: print(" atexit's", end=""))
"""


@pytest.mark.parametrize("end", ["", "exit(300)", "exit(-1)", "exit()", "exit(True)", "exit('why')", "exit([1])"])
def test_it_ends_as_an_interpreter_does(site: Checkout, end: str) -> None:
    (site.root / "launch.py").write_text(f"{ENDS}{end and 'sys.'}{end}\n")
    warm_one, cold_one = both(site, "a recipe")
    assert warm_one.stdout == cold_one.stdout == "unflushed the thread's atexit's"
    assert (warm_one.returncode, warm_one.stderr) == (cold_one.returncode, cold_one.stderr)


def test_streams_that_cannot_be_flushed_change_the_exit_code(site: Checkout) -> None:
    (site.root / "launch.py").write_text(f"{ENDS}sys.exit(7)\n")
    with open("/dev/full", "w") as full, (site.root / "said").open("w+") as said:
        process = site.start("a recipe", streams=(full.fileno(), said.fileno()))
        assert process.wait(60) == 120
        cold = subprocess.run(site.command("a recipe"), stdout=full, stderr=said, env=site.environ, check=False)
    assert cold.returncode == 120
    told = (site.root / "said").read_text()
    assert told[: len(told) // 2] * 2 == told and told.count("No space left on device") == 2, told


def test_a_signal_is_told_as_subprocess_tells_it(site: Checkout) -> None:
    assert [(done.returncode, done.stdout) for done in both(site, "die")] == [(-signal.SIGKILL, "")] * 2


def test_what_takes_too_long_is_killed(site: Checkout) -> None:
    (site.root / "launch.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    for limit_s in (1, 10, 100):  # the first in which it says something
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            site.run("a recipe", timeout=limit_s)
        if said := caught.value.output.strip():
            break
    wait_for(lambda: not Path("/proc", said).exists())


def test_many_at_once(site: Checkout) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: site.run("a recipe", str(number)), range(12)))
    assert [json.loads(one.stdout.splitlines()[0])["argv"][2] for one in done] == [str(n) for n in range(12)]
    assert {json.loads(one.stdout.splitlines()[0])["open"] for one in done} == {4}  # and the listing's own


def test_it_is_warm(site: Checkout) -> None:
    (site.root / "launch.py").write_text("import sys\nprint('nemo_run' in sys.modules)\n")
    assert [done.stdout for done in both(site, "a recipe")] == ["True\n", "False\n"]


@pytest.mark.parametrize("name", ["PYTHONUTF8", "LC_ALL", "NEMORUN_HOME", "LD_PRELOAD"])
def test_what_an_interpreter_reads_at_its_start_needs_a_new_one(name: str) -> None:
    assert warm.can_run(clean_environ())
    assert not warm.can_run({**clean_environ(), name: "/x"})


def test_the_launcher_is_that_of_the_checkout(checkout: Checkout) -> None:
    """Imported before where it is a copy as it was, and anew where a file of it has been changed."""
    (checkout.root / "launch.py").write_text(
        "import sys\nfound = sys.modules.get('automodel_launch.errors')\n"
        "from automodel_launch import errors, workspace\n"
        "print(found is errors, workspace.PACKAGE, getattr(errors, 'OWN', None))\n"
    )
    package = checkout.root / "automodel_launch"
    assert [done.stdout for done in both(checkout, "x")] == [f"{known} {package} None\n" for known in (True, False)]
    changed = (package / "errors.py").read_text() + "OWN = 1\n"
    (package / "errors.py").unlink()
    (package / "errors.py").write_text(changed)
    assert [done.stdout for done in both(checkout, "x")] == [f"False {package} 1\n"] * 2


def test_one_that_was_started_is_asked_stopped_and_heard(site: Checkout) -> None:
    """As a Popen: its state while it runs, signals, a session of its own, its last words."""
    (site.root / "launch.py").write_text(
        "import os, sys, time\nprint(os.getsid(0) == os.getpid(), 'said', flush=True)\nopen('begun', 'w').close()\n"
        "try:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    sys.exit('stopped')\n"
    )
    begun, ends = site.root / "begun", []
    for environ in (site.environ, {**site.environ, "PYTHONUTF8": "1"}):  # warm, and cold
        for own in (True, False):
            begun.unlink(missing_ok=True)
            process = Checkout(site.root, environ).start("a recipe", start_new_session=own)
            wait_for(begun.exists)
            assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            process.send_signal(signal.SIGINT)
            ends.append((list(process.communicate(timeout=60)), process.poll(), process.wait(), type(process)))
            process.kill()  # which is nothing any more
    told = [[f"{own} said\n", "stopped\n"] for own in (True, False)]
    kinds = (warm.Process, subprocess.Popen)
    assert ends == [(said, 1, 1, kind) for kind in kinds for said in told]


def test_lines_are_read_one_by_one_and_the_rest_at_the_end(site: Checkout) -> None:
    (site.root / "launch.py").write_text("import sys\nprint('a\\nb')\nsys.exit('c\\nd')\n")
    process = site.start()
    assert isinstance(process, warm.Process) and process.stdout is not None and process.stderr is not None
    assert (process.stdout.readline(), next(iter(process.stderr))) == ("a\n", "c\n")
    assert process.communicate(timeout=60) == ["b\n", "d\n"]


def test_one_that_was_started_writes_to_the_files_it_got(site: Checkout, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = site.start("die", streams=(out.fileno(), err.fileno()))
    assert process.wait(60) == -signal.SIGKILL
    (site.root / "launch.py").write_text("import sys\nprint('out')\nsys.exit('err')\n")
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        assert site.start(streams=(out.fileno(), err.fileno())).wait() == 1
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == ("out\n", "err\n")
