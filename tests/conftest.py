"""A workspace of its own for each test: a copy of what travels, with records, runs and data below tmp_path."""

from __future__ import annotations

import fcntl
import functools
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import workspace
from automodel_launch.commands import main as cli
from automodel_launch.executors.slurm.executor import Slurm
from automodel_launch.plan import bytecode, packaging
from tests import balance, warm
from tests.docker_engine import DAEMON, Engine

ROOT = Path(__file__).resolve().parent.parent
ENV_TOML = '[local]\nexecutor = "local"\nnodes = 1\nnproc_per_node = 2\n'

# nohup and a script's `&` leave these ignored, and whatever the tests start would inherit that.
for _number, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# A recipe without torch: quick, and it can be told how to end, and by a file (`+until=PATH`) when.
STUB = """# /// script
# requires-python = ">=3.10"
#
# [tool.runspec]
# schema = "1"
# name = "stub"
# docs = "Prints, counts and ends as its config says"
# [tool.runspec.run]
# launch = "LAUNCH"
# [tool.runspec.config]
# dir = "configs/stub"
# default = "default"
# ///
import os, signal, sys, time
import yaml
config = yaml.safe_load(open(sys.argv[2]))
rank = int(os.environ["RANK"])
def stop(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("value", config.get("value"), flush=True)
for step in range(config["steps"]):
    print(f"x | INFO | root | step {step} | epoch 0 | loss {9 - step}.0 | grad_norm 1.0 | lr 5.50e-04"
          " | mem 0.00 GiB | tps 100.00(50.00/gpu) | num_label_tokens 512", flush=True)
    time.sleep(config["pause"])
while config.get("until") and not os.path.exists(config["until"]):
    time.sleep(0.05)
if rank == config["fail_rank"]:
    if config["code"] == 1:
        raise RuntimeError("the stub's own error")
    print("about to fail", file=sys.stderr, flush=True)
    sys.exit(config["code"])
"""
STUB_CONFIG = "steps: 2\npause: 0.0\nfail_rank: -1\ncode: 0\nvalue: null\n"


HEAVY = pytest.StashKey[list[str]]()
"""What was imported to collect the tests, of what takes seconds."""


def pytest_collection_finish(session: pytest.Session) -> None:
    heavy = ("torch", "transformers", "nemo_automodel", "nemo_run")
    session.config.stash[HEAVY] = [name for name in heavy if name in sys.modules]
    gc.collect()
    gc.freeze()  # the tests' own 300,000 objects: no later collection looks at them, here or in what forks from here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = balance.measured().sorted(item.nodeid for item in items)
    items.sort(key=lambda item: places[item.nodeid])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`: parts of files where they are long."""
    return balance.scheduler(config, log) if config.getoption("dist") == "loadfile" else None


@dataclass
class Checkout:
    """A copy of the checkout's top level with a stub recipe, and a way to run launch.py in it."""

    root: Path
    environ: dict[str, str] = field(default_factory=lambda: clean_environ())

    def command(self, *args: str) -> list[str]:
        """The command line of launch.py."""
        return [sys.executable, str(self.root / "launch.py"), *args]

    def run(self, *args: str, env: dict[str, str] | None = None, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run launch.py to its end, with its output captured; an option of subprocess.run's makes it a cold start."""
        kwargs.setdefault("timeout", LIMIT_S)
        kwargs.setdefault("cwd", self.root)
        environ, command = {**self.environ, **(env or {})}, self.command(*args)
        usual = set(kwargs) == {"timeout", "cwd"} and command[:2] == Checkout.command(self)
        if usual and warm.can_run(environ):
            return warm.run(command, environ, **kwargs)
        return subprocess.run(command, capture_output=True, text=True, env=environ, check=False, **kwargs)

    def start(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        streams: tuple[int, int] | None = None,
        start_new_session: bool = False,
    ) -> subprocess.Popen[str] | warm.Process:
        """Start launch.py, with these files, or pipes, for its output and errors."""
        environ = {**self.environ, **(env or {})}
        if warm.can_run(environ):
            return warm.start(self.command(*args), environ, self.root, streams, start_new_session)
        out, err = streams or (-1, -1)
        return subprocess.Popen(
            self.command(*args), cwd=self.root, env=environ, stdout=out, stderr=err, text=True,
            start_new_session=start_new_session,
        )  # fmt: skip

    def json(self, *args: str, **kwargs: Any) -> Any:
        """Run launch.py with --json and read its document."""
        done = self.run(*args, "--json", **kwargs)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise AssertionError(f"no JSON on stdout: {done.stdout!r}\n{done.stderr}") from error


OVER_SSH = """
executor = "slurm"
account = "mine"
partition = "batch"
nodes = 1
gpus_per_node = 8
time = "04:00:00"
tunnel = "ssh"
host = "login.example.org"
remote_job_dir = "/shared/jobs"
container_image = "none"
python = "/shared/venv/bin/python"
"""
"""Keys of a profile for a cluster behind SSH."""


LIMIT_S = 240.0
"""How long a test waits before it calls it a hang: CI's machine is slow, and busy with other tests."""


def wait_for(condition: Callable[[], Any], seconds: float = LIMIT_S) -> Any:
    """The first true value of the condition, asked for less often where that takes long; its file may come later."""
    end = time.monotonic() + seconds
    while (asked := time.monotonic()) < end:
        with suppress(FileNotFoundError):
            if value := condition():
                return value
        time.sleep(max(0.1, min(3 * (time.monotonic() - asked), 3)))
    raise AssertionError("timed out")


def clean_environ() -> dict[str, str]:
    """This environment without what would steer the launcher or a training process."""
    dropped = {"LAUNCH_ENV", "RANK", "WORLD_SIZE", "LOCAL_RANK", "PRETRAIN_BLEND_PATH", "NEMORUN_HOME"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """What a recipe sets where its main() is called in this process is not for the tests after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    writes_none = sys.dont_write_bytecode
    yield
    sys.dont_write_bytecode = writes_none
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout with the real package, recipes and configs, and the recipes `stub` (torchrun) and `stub-one`."""
    return make_checkout(tmp_path / "checkout")


TinyCorpus = Callable[[Path], None]


def make_tiny_corpus(folder: Path) -> None:
    """What scripts/make_tiny_corpus.py makes, in that folder."""
    script = ROOT / "scripts" / "make_tiny_corpus.py"
    subprocess.run([sys.executable, str(script), "--out", str(folder)], check=True, timeout=LIMIT_S)


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """`tiny_corpus(DIR)` puts there what scripts/make_tiny_corpus.py makes, in seconds: once for all workers."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-corpus"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "made.json").exists():  # which is written last
            make_tiny_corpus(made)

    def _tiny_corpus(folder: Path) -> None:
        shutil.copytree(made, folder, copy_function=_link)

    return _tiny_corpus


@functools.cache
def _package() -> Path:
    """A copy of the launcher, with its byte code, since it keeps the times: what its files are linked to."""
    return shutil.copytree(ROOT / "automodel_launch", Path(tempfile.mkdtemp(prefix="package-"), "automodel_launch"))


@functools.cache
def _byte_code() -> list[Path]:
    """The node agent's, which the first launch of each checkout would have to write."""
    return list(bytecode.beside(packaging.agent(ROOT / "recipes")).values())


def pytest_sessionfinish() -> None:
    """Not at the interpreter's exit, which xdist's workers skip."""
    if _package.cache_info().currsize:
        shutil.rmtree(_package().parent)
        _package.cache_clear()


def _link(source: str, target: str) -> None:
    """No test writes into one of its files: it puts another in its place."""
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


def make_checkout(root: Path) -> Checkout:
    """Build a checkout below `root`."""
    root.mkdir()
    shutil.copytree(_package(), root / "automodel_launch", copy_function=_link)
    for name in ("recipes", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in _byte_code():
        target = root / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        _link(str(path), str(target))
    shutil.copy(ROOT / "launch.py", root)
    (root / "env.toml").write_text(ENV_TOML)
    for name, launch in (("stub", "torchrun"), ("stub-one", "python")):
        script = (
            STUB.replace("LAUNCH", launch).replace('"stub"', f'"{name}"').replace("configs/stub", f"configs/{name}")
        )
        (root / "recipes" / f"{name.replace('-', '_')}.py").write_text(script)
        (root / "configs" / name).mkdir()
        (root / "configs" / name / "default.yaml").write_text(STUB_CONFIG)
    return Checkout(root)


Main = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Main:
    """`main(checkout, *args)` is `checkout.run(*args)` in this process: without the seconds of NeMo-Run's import."""

    def _main(checkout: Checkout, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environ = {**checkout.environ, **(env or {})}
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name in set(os.environ) - set(environ):
                patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.chdir(checkout.root)
            patch.setattr(sys, "stdin", io.StringIO())  # NeMo-Run reads it, and pytest's own raises
            patch.setattr(workspace, "PACKAGE", checkout.root / "automodel_launch")
            patch.setattr(Slurm, "poll_s", 0.3)  # which spares a real cluster's controller
            code = cli.main(args)
        return subprocess.CompletedProcess(args, code, *capfd.readouterr())

    return _main


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file below tmp_path."""

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return _write


@pytest.fixture(scope="session")
def bridge() -> None:
    """.venv-bridge, complete: scripts/test.sh begins the tests while a process, $BRIDGE_SETUP, installs it."""
    while is_running(os.environ.get("BRIDGE_SETUP", "")):
        time.sleep(0.5)
    if not any((ROOT / ".venv-bridge").glob(".installed-*-bridge")):
        message = "needs .venv-bridge: bash scripts/setup.sh --bridge"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def is_running(pid: str) -> bool:
    """Whether a process of that number is there that has not ended."""
    try:
        return pid.isdigit() and Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running Docker engine."""
    missing = "root" if os.getuid() else "Docker" if DAEMON is None or shutil.which("docker") is None else ""
    if missing:
        message = f"needs {missing}; scripts/install-test-system.sh installs it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    engine = Engine()
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
