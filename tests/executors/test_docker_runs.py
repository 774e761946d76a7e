"""Jobs in containers of a real Docker engine, as a person starts them. The engine is the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import images, warm
from tests.conftest import LIMIT_S, Checkout, Main, make_checkout
from tests.docker_engine import BARE, BASE, Engine

pytestmark = pytest.mark.e2e
LONG = ("steps=9000", "pause=0.1")
USER = 1234  # not root, to whom every file would belong anyway

# What a job tells of its inside; it ends when it has been looked at from outside, too.
LOOK = """
import json, os, pathlib
run = pathlib.Path(os.environ["LAUNCH_RUN_DIR"])
(run / "look.part").write_text(json.dumps({
    "image": pathlib.Path("/etc/image-name").read_text(), "cwd": os.getcwd(), "job": sorted(os.listdir("/nemo_run")),
    "env": {name: os.environ.get(name) for name in ("ODD", "HF_TOKEN", "FORWARDED", "LEAKED", "UP")},
    "odd mount": os.listdir("/odd, mount"), "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_bsize,
}))
(run / "look.part").rename(run / "look.json")
while not (run / "seen").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def site(tmp_path: Path, engine: Engine) -> Checkout:
    """A checkout with the profile `d`: 2 processes on the CPU; and no container of other tests."""
    _wait(lambda: not engine.containers(), "the end of what other tests have cancelled")
    checkout = make_checkout(tmp_path / "checkout")
    (tmp_path / "data").mkdir()
    (tmp_path / "odd, source" / "a: b").mkdir(parents=True)
    mounts = [f"{tmp_path}/data:/data:ro", f"{tmp_path}/odd, source:/odd, mount"]
    lines = ['[d]\nexecutor = "docker"\nnproc_per_node = 2\ngpus_per_node = 0', f'container_image = "{BASE}"']
    lines += [f"mounts = {json.dumps(mounts)}", 'docker_args = ["--network", "none"]']
    (checkout.root / "env.toml").write_text("\n".join(lines) + "\n")
    checkout.environ |= engine.env
    return checkout


def _wait(condition: Callable[[], object], what: str, seconds: float = LIMIT_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def _started(site: Checkout) -> subprocess.Popen[str] | warm.Process:
    """An attached command whose job has logged a step; without torchrun, which takes seconds to start."""
    process = site.start("stub-one", "--run", "d", *LONG)
    logs = site.root / "runs"
    _wait(lambda: any("step 1 " in log.read_text() for log in logs.glob("*/logs/rank-0.log")), "a step")
    return process


def test_inside(site: Checkout, engine: Engine, main: Main, tmp_path: Path) -> None:
    secret = "s'e c$r\"et-0815"
    with (site.root / "env.toml").open("a") as file:
        file.write('env = ["FORWARDED"]\nsecrets = ["HF_TOKEN"]\nshm_size = "64m"\nenv_vars = {ODD = "a b, c:d\\ne"}\n')
        file.write('startup_commands = ["export UP=$FORWARDED", "echo once >> $LAUNCH_RUN_DIR/started"]\n')
        file.write('container_workdir = "/odd, mount/a: b"\n')
    with (site.root / "recipes" / "stub_one.py").open("a") as file:
        file.write(f"exec({LOOK!r})\n")
    environ = {"HF_TOKEN": secret, "FORWARDED": "f g", "LEAKED": "no"}
    plan = json.loads(main(site, "stub-one", "--run", "d", "--dry-run", "--json", env=environ).stdout)
    assert f"{tmp_path}/checkout/data:{tmp_path}/checkout/data" in plan["mounts"]
    assert plan["container_image"] == BASE
    assert [finding["code"] for finding in plan["findings"]] == ["image"]
    job = json.loads(main(site, "stub-one", "--batch", "d", "--json", env=environ).stdout)
    run, look = Path(job["run_dir"]), Path(job["run_dir"], "look.json")
    _wait(look.exists, "look.json")
    inspected = engine.docker("inspect", job["handle"]["container"]).stdout
    (run / "seen").touch()
    assert main(site, "attach", job["job_id"]).returncode == 0
    assert Path(job["job_dir"], "script").read_text().replace(job["job_id"], "@") == plan["script"].replace(
        plan["job_id"], "@"
    )
    assert not [text for text in ("et-0815", "f g", "b, c:d") if text in inspected]  # hex digits alone are in any id
    told = json.loads(look.read_text())
    assert told["image"] == images.NAME
    assert told["cwd"] == "/odd, mount/a: b"
    assert "agent.json" in told["job"]
    assert told["env"] == {"ODD": "a b, c:d\ne", "HF_TOKEN": secret, "FORWARDED": "f g", "LEAKED": None, "UP": "f g"}
    ran_with = json.loads(Path(job["job_dir"], "environment.json").read_text())
    assert ran_with["image_id"] == engine.docker("image", "inspect", "--format", "{{.Id}}", BASE).stdout.strip()
    assert told["odd mount"] == ["a: b"]
    assert told["shm"] == 64 * 2**20
    assert (run / "started").read_text() == "once\n"
    assert not Path(job["job_dir"], "secrets.env").exists()
    _wait(lambda: not engine.containers(), "no container left")
    assert engine.docker("network", "ls", "--format", "{{.Name}}").stdout.split() == ["host", "none"]


def test_the_exit_code_inside_is_the_commands(site: Checkout, engine: Engine) -> None:
    done = site.run("stub", "--run", "d", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr
    assert "error: about to fail (rank 1 on" in done.stderr
    _wait(lambda: not engine.containers(), "no container left")


def test_an_exported_job_runs_without_the_launcher(site: Checkout, engine: Engine, main: Main, tmp_path: Path) -> None:
    """Where it was copied to, with its true exit code, secrets, and a stop that lets it save."""
    with (site.root / "env.toml").open("a") as file:
        file.write('secrets = ["MY_TOKEN"]\nstartup_commands = ["[ ${#MY_TOKEN} = 9 ]"]\n')
    token, folders = {"MY_TOKEN": "hush-4711"}, []
    for name, overrides in (("fails", ("fail_rank=0", "code=7")), ("long", LONG)):
        out = tmp_path / name
        wanted = ("--run", "d", "--name", "away", *overrides, "--export", str(out))
        done = main(site, "stub-one", *wanted, env=token)
        assert (done.returncode, done.stdout) == (0, f"bash {out}/run\n"), done.stderr
        folders.append(out.rename(tmp_path / f"there-{name}"))
    how: dict[str, Any] = {"env": {**site.environ, **token}, "cwd": "/", "stderr": -1, "text": True}
    folders += [Path(shutil.copytree(folders[1], tmp_path / name)) for name in ("killed", "refused")]
    script = folders[3] / "job" / "script"
    script.write_text(script.read_text().replace("--network none", "--network nowhere"))
    started = [subprocess.Popen(["bash", f"{folder}/run"], start_new_session=True, **how) for folder in folders]
    jobs = [folder / "runs" / "away.1" for folder in folders]
    logs = [job / "logs" / "rank-0.log" for job in jobs[1:3]]
    _wait(lambda: all(log.is_file() and "step 1 " in log.read_text() for log in logs), "a step")
    os.killpg(started[1].pid, signal.SIGINT)  # as a terminal does
    label = f"label=automodel-launch.job={jobs[2]}"
    engine.docker("kill", engine.docker("ps", "--quiet", "--filter", label).stdout.strip())
    ends = [(process.communicate(timeout=LIMIT_S)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [7, 143, 1, 1], ends
    assert "saved" in logs[0].read_text()
    told = [json.loads((job / "exit.json").read_text()) for job in jobs]
    assert [end["state"] for end in told] == ["FAILED", "CANCELLED", "FAILED", "FAILED"]
    assert "ended without a record" in told[2]["error"] and "never started" in told[3]["error"]
    assert [job for job in jobs if (job / "secrets.env").exists()] == []
    assert site.json("jobs") == []
    texts = b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())
    assert b"hush-4711" not in texts
    _wait(lambda: not engine.containers(), "no container left")


def test_ctrl_c_stops_the_container_and_it_saves(site: Checkout, engine: Engine) -> None:
    process = _started(site)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "saved" in out and "CANCELLED" in err
    _wait(lambda: not engine.containers(), "no container left")


def test_a_killed_launcher_leaves_a_job_that_is_found_again(site: Checkout, engine: Engine, main: Main) -> None:
    process = _started(site)
    process.kill()
    process.communicate()
    del site.environ["DOCKER_HOST"]  # the record knows which engine it was
    (job,) = json.loads(main(site, "jobs", "--json").stdout)
    assert (job["state"], job["executor"]) == ("RUNNING", "docker")
    inside = main(
        site, "exec", "last", "--json", "--", "sh", "-c", "cat /etc/image-name; pwd; echo $LAUNCH_JOB_ID; exit 3"
    )
    assert inside.returncode == 3, inside.stderr
    assert json.loads(inside.stdout)["stdout"].split()[-2:] == [f"{job['job_dir']}/code", job["job_id"]]
    again = main(site, "stub-one", "--run", "d", *LONG, env=engine.env)
    assert again.returncode == 3 and "run-active" in again.stderr
    cancelled = main(site, "cancel", "last", "--now")
    assert "CANCELLED" in cancelled.stdout, cancelled.stderr
    _wait(lambda: not engine.containers(), "no container left")


def test_a_container_that_is_killed_is_a_failed_job(site: Checkout, engine: Engine) -> None:
    process = _started(site)
    (name,) = engine.containers()
    engine.docker("kill", name)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "its container ended without a record" in err
    _wait(lambda: not engine.containers(), "no container left")


PIPELINE = """\
steps:
  rates: {recipe: stub-one, overrides: {steps: 1}, sweep: {grid: {value: [1, 2]}}}
  last: {recipe: stub-one, overrides: {steps: 1, value: "${steps.rates.best.run_dir}", fail_rank: 0, code: 7}}
"""


def test_a_pipeline_of_containers(site: Checkout, engine: Engine, main: Main) -> None:
    """Of a sweep and a step that takes its best point, and fails; the same command would do what is left."""
    (site.root / "p.yaml").write_text(PIPELINE)
    refused = main(site, "pipeline", "p.yaml", "--batch", "d")
    assert refused.returncode == 2 and "--run instead of --batch" in refused.stderr
    done = main(site, "pipeline", "p.yaml", "--run", "d", "--json")
    assert [step["exit_code"] for step in json.loads(done.stdout)["steps"]] == [0, 7], done.stderr
    assert done.returncode == 7
    left = json.loads(main(site, "pipeline", "p.yaml", "--run", "d", "--dry-run", "--json").stdout)["steps"]
    assert [step["state"] == "FINISHED" for step in left] == [True, False]
    _wait(lambda: not engine.containers(), "no container left")


@pytest.fixture
def whose(engine: Engine, site: Checkout, main: Main) -> Iterator[Callable[[int], str]]:
    """`--user` of a job that USER starts, where the engine's storage belongs to somebody."""
    script = json.loads(main(site, "stub", "--run", "d", "--dry-run", "--json").stdout)["script"]
    assert '--user "$user"' in script
    begin = script[script.index("user=$(id -u)") : script.index("mkdir -p")]
    stats = {path: path.stat() for path in (engine.dir, engine.dir / "data", engine.dir / "docker.sock")}

    def _whose(owner: int) -> str:
        os.chown(engine.dir / "data", owner, owner)
        ask = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "bash", "-c", begin + 'echo "$user"']
        return subprocess.run(ask, env=site.environ, capture_output=True, text=True, check=True).stdout.strip()

    for path in stats:
        path.chmod(0o777)
    yield _whose
    for path, stat in stats.items():
        os.chown(path, stat.st_uid, stat.st_gid)
        path.chmod(stat.st_mode & 0o7777)


def test_files_belong_to_the_user(site: Checkout, tmp_path: Path, engine: Engine, whose: Callable[[int], str]) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    os.chown(out, USER, USER)
    mount = f"--mount type=bind,source={out},target=/out"
    engine.docker("run", "--rm", "--user", whose(0), "--network", "none", *mount.split(), BASE, "touch", "/out/file")
    assert (out / "file").stat().st_uid == USER


def test_a_rootless_engine_that_does_not_say_so_is_told_by_its_storage(whose: Callable[[int], str]) -> None:
    """podman before 4.6; a member of Docker's group has a socket as well, and no storage."""
    assert whose(0) == f"{USER}:{USER}"
    assert whose(USER) == "0:0"


@pytest.mark.parametrize("entrypoint", ['["/etc/image-name"]', '["sh", "-c", "exit 0"]', '["/nowhere/entry", "-x"]'])
def test_an_images_entrypoint_does_not_swallow_the_job(
    site: Checkout, main: Main, engine: Engine, tmp_path: Path, entrypoint: str
) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(f'FROM {BASE}\nENTRYPOINT {entrypoint}\nCMD ["no"]\n')
    subprocess.run(
        ["docker", "build", "-q", "-t", "with-entrypoint:1", tmp_path / "context"],
        env=site.environ | {"DOCKER_BUILDKIT": "0"},
        check=True,
    )
    done = main(site, "stub-one", "--run", "d", "run.env.container_image=with-entrypoint:1")
    assert done.returncode == 0, done.stderr
    _wait(lambda: not engine.containers(), "no container left")
    # who wants an entrypoint names it: it gets the command as its arguments
    docker_args = json.dumps(["--network", "none", "--entrypoint", "/usr/bin/env"])
    done = main(site, "stub-one", "--run", "d", f"run.env.docker_args={docker_args}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("override", "environ", "code", "words"),
    [
        ("steps=1", {"DOCKER_HOST": "unix:///tmp/no-engine.sock"}, 3, "no Docker engine answers"),
        ("steps=1", {"DOCKER_HOST": "ssh://login.invalid"}, 3, "no Docker engine answers"),
        ('run.env.mounts=["/nowhere:/x"]', {}, 3, "/nowhere does not exist"),
        ("run.env.container_image=none", {}, 2, "container_image is missing"),
        ("run.env.container_image=/a.sqsh", {}, 2, "not a file"),
        ("run.env.container_image=localhost:9/no/image", {}, 4, "that machine cannot reach the registry"),
        (f"run.env.runtime={BARE}", {}, 4, "needs sh and a Python"),
        ("run.env.shm_size=much", {}, 3, "shm_size = 'much' (override run.env)"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    site: Checkout,
    engine: Engine,
    main: Main,
    override: str,
    environ: dict[str, str],
    code: int,
    words: str,
) -> None:
    done = main(site, "stub", "--run", "d", override, env=environ)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not engine.containers()
    assert not list((site.root / "runs").glob("*/script"))


def test_doctor(site: Checkout, main: Main) -> None:
    done = main(site, "doctor", "d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{BASE} is sha256:" in done.stdout
    bad = main(site, "doctor", "d", env={"DOCKER_HOST": "unix:///tmp/no-engine.sock"})
    assert bad.returncode == 3 and "FAIL" in bad.stdout
