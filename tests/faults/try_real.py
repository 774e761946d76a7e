"""Tries faulty launches on the real part, without any of the launcher's checks, and writes down what that did.

    nice python -m tests.faults.try_real tests/faults/NAME.yaml ...          prints what happened
    nice python -m tests.faults.try_real --write tests/faults/NAME.yaml ...  and puts it into the files, as `tried`

It is a tool and no test. A file's `part` says what is tried:

    automodel   recipes/pretrain.py with the resolved config, on `ranks` ranks (2) over gloo; where the launcher refuses
                to resolve it, the config is composed without it, as AutoModel's user would write it
    nemo-run    nemo_run.SlurmExecutor of the profile's keys, as a person writes them, and a dry run of an Experiment:
                the lines of the batch script that these keys change
    packager    the packager that the profile names, on the files of the launch: what the archive holds
    slurm       the plan as it is, submitted with --force to a cluster of scripts/slurm-cluster (needs root and
                scripts/install-test-system.sh): sbatch --test-only's words, and what became of the job
    none        nothing: `tried` is written by hand, and says why this machine cannot try it

A try of `automodel` takes a few seconds, after 15 s for the first one's imports.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import tomli
import yaml

from automodel_launch import nemo, overrides, submit, yamlio
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults.launches import FOLDER, ROOT, Launch, Stage

LIMIT_S = 100
answers: dict[str, str | int] = {}  # of Slurm's commands, where they differ from those in slurm.yml
_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?(pretrain: .*|[A-Za-z_.]*(?:Error|Exception)(?::.*)?)$", re.M)
_NOT_IT = ("ChildFailedError", "DistNetworkError", "RuntimeError: DataLoader worker")


def main() -> None:
    """Try the files, one after the other."""
    parser = argparse.ArgumentParser(description="Try faulty launches on the real part.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put the result into the file, as its last key `tried`")
    parser.add_argument("--output", action="store_true", help="print all that was said")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="try-real-") as folder:
        Path(folder).chmod(0o755)
        shared = launches.share(Path(folder))
        for path in options.files:
            launch = launches.read(path)
            stage = Stage(Path(folder) / launch.name, *shared)
            launches.set_up(launch, stage)
            answers.clear()
            by, said = _PARTS[launch.part](launch, stage)
            whole = said.replace(str(stage.here), "HERE").replace(folder, "").replace(str(ROOT) + "/", "")
            print(f"{launch.name}: {by}: {whole if options.output else telling(whole)}", flush=True)
            if options.write:
                write(path, by, telling(whole))


def telling(said: str) -> str:
    """A result in one line, and not too long a one."""
    line = " ".join(said.split())
    return line if len(line) <= 500 else f"{line[:500]} ..."


def write(path: Path, by: str, said: str) -> None:
    """Replace what stands behind `tried:` in a file, and Slurm's refusal before it."""
    head = re.split(r"^(?:recorded|tried):", path.read_text(), maxsplit=1, flags=re.M)[0]
    content = {"recorded": dict(answers)} if answers else {}
    content["tried"] = {"by": by, "said": said}
    body = yaml.safe_dump(content, width=110, allow_unicode=True, sort_keys=False)
    path.write_text(head + body)


# AutoModel


def try_automodel(launch: Launch, stage: Stage) -> tuple[str, str]:
    """Train as the launch says, on this machine's CPU."""
    ranks = launch.ranks or 2
    run_dir = stage.here / "run"
    run_dir.mkdir()
    with launches.shell(launch, stage):
        try:
            content: Any = launches.plan(launch, stage).config
        except LaunchError:
            content = composed(launch, stage)
        (run_dir / "config.yaml").write_text(yamlio.dump(content))
        code, output = _train(run_dir, ranks, stage.here if "code" in launch.keys else run_dir)
    return f"AutoModel 0.7.0, {ranks} ranks over gloo", _outcome(code, output)


def _train(run_dir: Path, ranks: int, cwd: Path) -> tuple[int | None, str]:
    """(exit code, output); the code is None where it ran past the limit.

    The ranks are forks of a process that has imported AutoModel once; torchrun would add nothing but 15 s of imports.
    """
    pretrain = _recipe()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with tempfile.TemporaryFile() as output:
        children = []
        for rank in range(ranks):
            environ = {"LAUNCH_RUN_DIR": run_dir, **common, "RANK": rank, "LOCAL_RANK": rank}
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.chdir(cwd)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.environ.update({name: str(value) for name, value in environ.items()})
                _become(lambda: pretrain.main(["--config", str(run_dir / "config.yaml")]))
            children.append(pid)
        code = _wait(children)
        output.seek(0)
        return code, output.read().decode(errors="replace").replace("\r", "\n")


@cache
def _recipe() -> Any:
    """recipes/pretrain.py, with what it imports late."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    sys.path.insert(0, str(ROOT / "recipes"))
    for name in ("nemo_automodel.recipes.llm.train_ft", "nemo_automodel.components.datasets.llm.megatron_dataset"):
        importlib.import_module(name)
    return importlib.import_module("pretrain")


def _become(main: Callable[[], int]) -> None:
    """End this process with what `main` returns, or with its traceback."""
    code = 1
    try:
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(children: list[int]) -> int | None:
    """The first bad exit code, after which the others are killed, as torchrun does; None after LIMIT_S."""
    end, left, worst = time.monotonic() + LIMIT_S, set(children), 0
    while left and time.monotonic() < end:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            left.discard(pid)
            worst = worst or os.waitstatus_to_exitcode(status)
            end = min(end, time.monotonic() + 5) if worst else end
        time.sleep(0.05)
    for pid in left:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return None if left and not worst else worst


def _outcome(code: int | None, output: str) -> str:
    steps = [int(number) for number in re.findall(r"\bstep (\d+) \| epoch", output)]
    done = f"after step {steps[-1]}" if steps else "before the first step"
    ignored = [line for line in output.splitlines() if "unknown" in line.lower() and "WARN" in line]
    if code == 0:
        loss = re.findall(r"\| loss (\S+)", output)
        return f"silence: {len(set(steps))} steps, last loss {loss[-1] if loss else '-'}, exit 0 {' '.join(ignored)}"
    errors = [text for text in _ERROR.findall(output) if not any(name in text for name in _NOT_IT)]
    last = errors[0] if errors else (output.strip().splitlines() or [""])[-1]
    if code is None:
        return f"hangs {done}; ended after {LIMIT_S} s {last if errors else ''}"
    return f"{last} ({done}, exit {code})"


def composed(launch: Launch, stage: Stage) -> Any:
    """The config with its overrides, less `run`, and without any look at what it says."""
    from omegaconf import OmegaConf

    path = Path(launches.config(launch, stage))
    path = path if path.suffix else ROOT / "configs" / launch.recipe / f"{path.name}.yaml"
    merged = _layered(path)
    for text in launch.overrides:
        override = overrides.parse(stage.text(text))
        if not override.key.startswith("run."):
            OmegaConf.update(merged, override.key, override.value)
    run = {"dir": str(stage.here / "run"), "name": "run", "data_dir": str(stage.data)}
    merged = OmegaConf.merge(merged, {"run": run})
    # AutoModel's loader reads ${oc.env:NAME} itself
    text = OmegaConf.to_yaml(merged).replace("${oc.env:", "$@{").replace("${art:", "$@art{")
    resolved = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    content = yaml.safe_load(yaml.safe_dump(resolved).replace("$@{", "${oc.env:").replace("$@art{", "${art:"))
    del content["run"]
    return content


def _layered(path: Path) -> Any:
    from omegaconf import OmegaConf

    content = yaml.safe_load(path.read_text())  # as AutoModel reads it: of a key given twice the last
    below = [_layered((path.parent / name).with_suffix(".yaml")) for name in content.pop("defaults", None) or ()]
    return OmegaConf.merge(*below, OmegaConf.create(content))


# NeMo-Run


def try_nemo_run(launch: Launch, stage: Stage) -> tuple[str, str]:
    """The executor that the profile's keys make, and the script that it would submit."""
    with launches.shell(launch, stage):
        tables = tomli.loads((stage.here / "env.toml").read_text())
        with_keys = _nemo_script(tables[launch.profile], stage)
        base = tomli.loads(stage.text(f"[x]\n{launches.BASE['site']}"))["x"]
        without = _nemo_script(base, stage)
    if with_keys.startswith("error: "):
        return "NeMo-Run 0.11.1", with_keys.removeprefix("error: ")
    changed = [line for line in with_keys.splitlines() if line.strip() and line not in without.splitlines()]
    return "NeMo-Run 0.11.1", f"silence: the batch script has {'; '.join(changed) or 'nothing of it'}"


def _nemo_script(table: dict[str, Any], stage: Stage) -> str:
    # the launcher's own keys, which have no counterpart in NeMo-Run
    ours = ("executor", "extends", "remote_job_dir", "data_dir", "nproc_per_node", "python", "gpu", "secrets")
    values = {key: value for key, value in table.items() if key not in ours}
    values = {{"mounts": "container_mounts"}.get(key, key): value for key, value in values.items()}
    if values.get("container_image") == "none":
        del values["container_image"]
    try:
        with nemo.experiment("try", "try", stage.here / f"nemo{time.monotonic_ns()}") as (run, exp):
            tunnel = run.LocalTunnel(job_dir=str(stage.here / "jobs"))
            executor = run.SlurmExecutor(**values, tunnel=tunnel, packager=run.Packager())
            exp.add(run.Script(inline="python train.py"), executor=executor, name="task")
            exp.dryrun(log=False, delete_exp_dir=False)
            return str(exp.jobs[0]._dryrun_info.request.materialize())
    except LaunchError as error:
        return f"error: {error.message.partition(': ')[2] or error.message}"


def try_packager(launch: Launch, stage: Stage) -> tuple[str, str]:
    """What NeMo-Run's packager puts into its archive."""
    table = tomli.loads((stage.here / "env.toml").read_text())[launch.profile]
    out = stage.here / "out"
    out.mkdir()
    try:
        with launches.shell(launch, stage), nemo.experiment("try", "try", stage.here / "nemo") as (run, _):
            packager = (
                run.GitArchivePackager(check_uncommitted_changes=False)
                if table.get("packager") == "git"
                else run.PatternPackager(include_pattern=table["code"], relative_path=[str(stage.here)])
            )
            made = packager.package(stage.here, str(out), "code")
    except (LaunchError, SystemExit) as error:
        return "NeMo-Run 0.11.1", f"{type(packager).__name__}: {getattr(error, 'message', error)}"
    with tarfile.open(made) as archive:
        members = [member for member in archive if member.isfile()]
    names, size = [member.name for member in members], sum(member.size for member in members) / 1e6
    shown = ", ".join(names[:6]) or "no file at all"
    return "NeMo-Run 0.11.1", f"silence: {type(packager).__name__} packs {size:.1f} MB: {shown}"


# Slurm


def try_slurm(launch: Launch, stage: Stage) -> tuple[str, str]:
    """Submit the plan, and look what becomes of it."""
    with cluster(stage.here.parent, pyxis="srun" not in launch.slurm) as environ, launches.shell(launch, stage):
        os.environ.update(environ)
        os.environ["PATH"] = os.environ["PATH"].partition(":")[2]  # without the recorded answers
        try:
            plan = launches.plan(launch, stage)
        except LaunchError as error:
            return "Slurm 22.05.8", f"NOT TRIED, the launcher: {error.message}"
        done = subprocess.run(["sbatch", "--test-only"], input=plan.script, capture_output=True, text=True)
        tested = " ".join(done.stderr.split())
        if done.returncode:
            answers.update(sbatch=done.stderr, code=done.returncode)
        try:
            made, record = submit.submit(plan, stage.workspace)
        except LaunchError as error:
            return "Slurm 22.05.8", f"--test-only: {tested}; submitted: {error.message.partition(': ')[2]}"
        job = record.handle["slurm_id"]
        time.sleep(8)
        state = _shell(f"scontrol -o show job {job} | grep -oE '(JobState|Reason|ExitCode)=[^ ]+'")
        logs = sorted(Path(made.job_dir, "logs").glob("*"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if "error" in line]
        _shell(f"scancel {job}")
        return "Slurm 22.05.8", f"--test-only: {tested}; submitted: {state} {' '.join(lines[:2])}"


@contextlib.contextmanager
def cluster(seen: Path, pyxis: bool) -> Iterator[dict[str, str]]:
    """A cluster of four nodes, with or without the stand-in for pyxis; `seen` is a directory that they see."""
    script = [str(ROOT / "scripts" / "slurm-cluster"), "--dir", f"/tmp/try-real-{os.getpid()}"]
    plugin = FOLDER.parent / "slurm" / "spank_testct.c"
    Path(script[2]).mkdir(exist_ok=True)
    Path(script[2]).chmod(0o755)
    built = f"{script[2]}/spank.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, str(plugin)], check=True)
    shared = [word for path in (ROOT, Path(sys.prefix), seen) for word in ("--shared", str(path))]
    options = ["--owner", str(os.getpid()), *(["--pyxis", built] if pyxis else []), *shared]
    subprocess.run([*script, "up", *options], check=True, stdout=subprocess.DEVNULL)
    try:
        yield {"SLURM_CONF": f"{script[2]}/slurm.conf"}
    finally:
        subprocess.run([*script, "down"], check=True)


def _shell(command: str, text: str = "") -> str:
    done = subprocess.run(["bash", "-c", f"{command} 2>&1"], input=text, capture_output=True, text=True)
    return " ".join(done.stdout.split())


def _none(launch: Launch, stage: Stage) -> tuple[str, str]:
    raise SystemExit(f"{launch.name}: cannot be tried here; its `tried` is written by hand")


_PARTS: dict[str, Callable[[Launch, Stage], tuple[str, str]]] = {
    "automodel": try_automodel,
    "nemo-run": try_nemo_run,
    "packager": try_packager,
    "slurm": try_slurm,
    "none": _none,
}

if __name__ == "__main__":
    main()
