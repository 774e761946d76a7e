"""Jobs in containers of a real Docker engine, as a person starts them. The engine is the tests' own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import images
from tests.conftest import Checkout, make_checkout
from tests.docker_engine import BARE, BASE, Engine

pytestmark = pytest.mark.e2e
USER = 1234  # not root, to whom every file would belong anyway

# What a job tells of its inside.
LOOK = """
import json, os, pathlib
pathlib.Path(os.environ["LAUNCH_RUN_DIR"], "look.json").write_text(json.dumps({
    "image": pathlib.Path("/etc/image-name").read_text(), "cwd": os.getcwd(), "job": sorted(os.listdir("/nemo_run")),
    "env": {name: os.environ.get(name) for name in ("ODD", "HF_TOKEN", "FORWARDED", "LEAKED", "UP")},
    "odd mount": os.listdir("/odd, mount"), "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_bsize,
}))
"""


@pytest.fixture
def site(tmp_path: Path, engine: Engine) -> Checkout:
    """A checkout with the profile `d`: 2 processes on the CPU."""
    checkout = make_checkout(tmp_path / "checkout")
    (tmp_path / "data").mkdir()
    (tmp_path / "odd, source").mkdir()
    (tmp_path / "odd, source" / "file").touch()
    mounts = [f"{tmp_path}/data:/data:ro", f"{tmp_path}/odd, source:/odd, mount"]
    lines = ['[d]\nexecutor = "docker"\nnproc_per_node = 2\ngpus_per_node = 0', f'container_image = "{BASE}"']
    lines += [f"mounts = {json.dumps(mounts)}", 'docker_args = ["--network", "none"]']
    (checkout.root / "env.toml").write_text("\n".join(lines) + "\n")
    checkout.environ |= engine.env
    return checkout


def _wait(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def _started(site: Checkout, *options: str) -> subprocess.Popen[str]:
    """An attached command whose job has logged a step."""
    command = site.command("stub", "--run", "d", "steps=600", "pause=0.1", *options)
    process = subprocess.Popen(command, cwd=site.root, env=site.environ, stdout=-1, stderr=-1, text=True)
    logs = site.root / "runs"
    _wait(lambda: any("step 1 " in log.read_text() for log in logs.glob("*/logs/rank-0.log")), "a step")
    return process


def test_inside(site: Checkout, engine: Engine, tmp_path: Path) -> None:
    secret = "s'e c$r\"et-0815"
    with (site.root / "env.toml").open("a") as file:
        file.write('env = ["FORWARDED"]\nsecrets = ["HF_TOKEN"]\nshm_size = "64m"\nenv_vars = {ODD = "a b, c:d\\ne"}\n')
        file.write('startup_commands = ["export UP=$FORWARDED", "echo once >> $LAUNCH_RUN_DIR/started"]\n')
    with (site.root / "recipes" / "stub.py").open("a") as file:
        file.write(f"if rank == 0:\n    exec({LOOK!r})\n    time.sleep(3)\n")
    site.environ |= {"HF_TOKEN": secret, "FORWARDED": "f g", "LEAKED": "no"}
    plan = site.json("stub", "--run", "d", "--dry-run")
    assert f"{tmp_path}/checkout/data:{tmp_path}/checkout/data" in plan["mounts"]
    assert plan["container_image"] == BASE
    assert [finding["code"] for finding in plan["findings"]] == ["image"]
    job = site.json("stub", "--batch", "d")
    run, look = Path(job["run_dir"]), Path(job["run_dir"], "look.json")
    _wait(look.exists, "look.json")
    inspected = engine.docker("inspect", job["handle"]["container"]).stdout
    assert site.run("attach", job["job_id"]).returncode == 0
    assert Path(job["job_dir"], "script").read_text().replace(job["job_id"], "@") == plan["script"].replace(
        plan["job_id"], "@"
    )
    assert all(text not in inspected for text in ("0815", "f g", "c:d"))
    told = json.loads(look.read_text())
    assert told["image"] == images.NAME
    assert told["cwd"] == f"{job['job_dir']}/code"
    assert "agent.json" in told["job"]
    assert told["env"] == {"ODD": "a b, c:d\ne", "HF_TOKEN": secret, "FORWARDED": "f g", "LEAKED": None, "UP": "f g"}
    assert told["odd mount"] == ["file"]
    assert told["shm"] == 64 * 2**20
    assert (run / "started").read_text() == "once\n"
    assert not Path(job["job_dir"], "secrets.env").exists()
    _wait(lambda: not engine.containers(), "no container left")
    assert engine.docker("network", "ls", "--format", "{{.Name}}").stdout.split() == ["host", "none"]


def test_the_exit_code_inside_is_the_commands(site: Checkout, engine: Engine) -> None:
    done = site.run("stub", "--run", "d", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr
    assert "error: about to fail (rank 1 on" in done.stderr
    assert "value None" in done.stdout
    _wait(lambda: not engine.containers(), "no container left")


def test_ctrl_c_stops_the_container_and_it_saves(site: Checkout, engine: Engine) -> None:
    process = _started(site)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "saved" in out and "CANCELLED" in err
    _wait(lambda: not engine.containers(), "no container left")


def test_a_killed_launcher_leaves_a_job_that_is_found_again(site: Checkout, engine: Engine) -> None:
    process = _started(site)
    process.kill()
    process.communicate()
    del site.environ["DOCKER_HOST"]  # the record knows which engine it was
    (job,) = site.json("jobs")
    assert (job["state"], job["executor"]) == ("RUNNING", "docker")
    again = site.run("stub", "--run", "d", "steps=600", "pause=0.1", env=engine.env)
    assert again.returncode == 3 and "run-active" in again.stderr
    cancelled = site.run("cancel", "last", "--now")
    assert "CANCELLED" in cancelled.stdout, cancelled.stderr
    _wait(lambda: not engine.containers(), "no container left")


def test_a_container_that_is_killed_is_a_failed_job(site: Checkout, engine: Engine) -> None:
    process = _started(site)
    (name,) = engine.containers()
    engine.docker("kill", name)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "its container ended without a record" in err


def test_files_belong_to_the_user(site: Checkout, tmp_path: Path, engine: Engine) -> None:
    plan = site.json("stub", "--run", "d", "--dry-run")
    assert '--user "$user"' in plan["script"]
    out = tmp_path / "mine"
    out.mkdir()
    os.chown(out, USER, USER)
    script = (
        plan["script"].split("exec docker run")[0].replace("id -u", f"echo {USER}").replace("id -g", f"echo {USER}")
    ) + (
        f'docker run --rm --user "$user" --network none --mount type=bind,source={out},target=/out {BASE} touch /out/file'
    )
    subprocess.run(["bash", "-c", script], env=site.environ, check=True)
    assert (out / "file").stat().st_uid == USER


def test_what_is_wrong_is_said_before_anything_starts(site: Checkout, engine: Engine) -> None:
    no_engine = site.run("stub", "--run", "d", env={"DOCKER_HOST": "unix:///tmp/no-engine.sock"})
    assert no_engine.returncode == 3
    assert "no Docker engine answers" in no_engine.stderr
    no_source = site.run("stub", "--run", "d", 'run.env.mounts=["/nowhere:/x"]')
    assert no_source.returncode == 3 and "/nowhere does not exist" in no_source.stderr
    no_python = site.run("stub", "--run", "d", f"run.env.runtime={BARE}")
    assert no_python.returncode == 4
    assert "has no python3" in no_python.stderr
    assert not engine.containers()
    assert not list((site.root / "runs").glob("*/script"))
    no_image = site.run("stub", "--run", "d", "run.env.container_image=none")
    assert no_image.returncode == 2 and "container_image is missing" in no_image.stderr
    file = site.run("stub", "--run", "d", "run.env.container_image=/a.sqsh")
    assert file.returncode == 2 and "not a file" in file.stderr
    elsewhere = site.run("stub", "--run", "d", env={"DOCKER_HOST": "ssh://login.invalid"})
    assert elsewhere.returncode == 3


def test_doctor(site: Checkout) -> None:
    done = site.run("doctor", "d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{BASE} is sha256:" in done.stdout
    bad = site.run("doctor", "d", env={"DOCKER_HOST": "unix:///tmp/no-engine.sock"})
    assert bad.returncode == 3 and "FAIL" in bad.stdout
