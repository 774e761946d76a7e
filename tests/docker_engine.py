"""A Docker engine of the tests' own, in a private directory: nothing of it is the machine's, and nothing stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests import images

DAEMON = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
IMAGE = "launch-test:1"


class Engine:
    """dockerd with the image IMAGE, without a network of its own."""

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
        with (self.dir / "log").open("wb") as log:
            command = [DAEMON or "dockerd", *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=-3, start_new_session=True)
        end = time.monotonic() + 30
        while self.docker("version", check=False).returncode:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"dockerd did not start: {(self.dir / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        archive = subprocess.run(["tar", "-C", images.skeleton(self.dir), "-c", "."], check=True, capture_output=True)
        subprocess.run(
            ["docker", "import", "-", IMAGE],
            input=archive.stdout,
            env=os.environ | self.env,
            check=True,
            capture_output=True,
        )

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
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for line in Path("/proc/mounts").read_text().splitlines():  # the network namespaces of its containers
            if str(self.dir) in line:
                subprocess.run(["umount", line.split()[1]], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)
