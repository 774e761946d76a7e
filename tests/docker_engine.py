"""A Docker engine of the tests' own, in a private directory: nothing of it is the machine's, and nothing stays.

There is no registry, and to import this machine's Python, torch and compiler as an image takes 13 s and 1.6 GB. So the
engine's runtime mounts them into its containers, read-only, as NVIDIA's does with a driver: for a Dockerfile's commands
and for a job, the image BASE is one with a compiler, Python, and all that scripts/setup.sh has installed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from tests import images

DAEMON = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
ROOT = Path(__file__).resolve().parent.parent
BASE = "python-of-this-machine:1"
IMAGE = "automodel:cpu"
BARE = "runc"  # the runtime without this machine's files
# docker and containerd call it as they do runc; `create` comes with the directory of the container's config.json.
RUNTIME = """#!{python} -IS
import json, os, sys
args = sys.argv[1:]
if "create" in args:
    path = args[args.index("--bundle") + 1] + "/config.json"
    with open(path) as file:
        config = json.load(file)
    config["mounts"][:0] = json.loads({mounts!r})
    with open(path, "w") as file:
        json.dump(config, file)
os.execvp({bare!r}, [{bare!r}, *args])
"""


class Engine:
    """dockerd without a network of its own; `build` makes the image IMAGE."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="docker-", dir="/tmp"))  # a socket's path has to be short
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {"DOCKER_HOST": f"unix://{self.dir}/docker.sock"}

    def start(self) -> None:
        options = [f"--data-root={self.dir}/data", f"--exec-root={self.dir}/run", f"--pidfile={self.dir}/pid"]
        options += [f"--host=unix://{self.dir}/docker.sock", "--iptables=false", "--bridge=none"]
        options += [f"--add-runtime=borrowing={self._runtime()}", "--default-runtime=borrowing"]
        with (self.dir / "log").open("wb") as log:
            command = [DAEMON or "dockerd", *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=-3, start_new_session=True)
        end = time.monotonic() + 120
        while self.docker("version", check=False).returncode:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"dockerd did not start: {(self.dir / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        archive = subprocess.run(["tar", "-C", images.skeleton(self.dir), "-c", "."], check=True, capture_output=True)
        path = f"PATH={Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        subprocess.run(
            ["docker", "import", "--change", f"ENV {path}", "-", BASE],
            input=archive.stdout,
            env=os.environ | self.env,
            check=True,
            capture_output=True,
        )

    def _runtime(self) -> Path:
        mounts = [
            {"type": "bind", "source": path, "destination": path, "options": ["rbind", "ro"]}
            for path in images.BORROWED_PATHS
        ]
        program = self.dir / "borrowing"
        program.write_text(RUNTIME.format(python=sys.executable, mounts=json.dumps(mounts), bare=BARE))
        program.chmod(0o755)
        return program

    def build(self) -> str:
        """Make IMAGE as docs/containers.md says, from BASE; what Docker and pip told.

        TORCH names the torch that this machine has, which may be a build for the CPU or for CUDA.
        """
        requirements = self.dir / "requirements"
        shutil.copytree(ROOT / "requirements", requirements, dirs_exist_ok=True)
        (requirements / "torch-installed.txt").write_text(f"torch=={metadata.version('torch')}\n")
        context = ["-f", str(ROOT / "docker" / "Dockerfile"), "--force-rm", str(requirements)]
        environ = os.environ | self.env | {"DOCKER_BUILDKIT": "0"}  # BuildKit has no use for an engine's runtimes
        command = [
            "docker",
            "build",
            "--build-arg",
            f"BASE={BASE}",
            "--build-arg",
            "TORCH=installed",
            "--target",  # without BuildKit every stage before the last one would be built
            "automodel",
            "-t",
            IMAGE,
            *context,
        ]
        done = subprocess.run(command, env=environ, stdout=-1, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout)
        return done.stdout

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environ = os.environ | self.env
        return subprocess.run(["docker", *words], env=environ, capture_output=True, text=True, check=check)

    def containers(self) -> list[str]:
        """Names of all containers, ended ones included."""
        return self.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()

    def stop(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            for name in self.containers():
                self.docker("rm", "--force", name, check=False)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for line in Path("/proc/mounts").read_text().splitlines():  # the network namespaces of its containers
            if str(self.dir) in line:
                subprocess.run(["umount", line.split()[1]], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)
