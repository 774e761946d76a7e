"""What following a job costs: a job logs 30 MB in 60 s, and is followed over SSH to a login node until its end.

    python benchmarks/slurm_follow.py [--megabytes 30] [--seconds 60]

Starts a Slurm of its own with accounting, without which NeMo-Run cancels the job that it follows, and an sshd on the
loopback address behind a counter; so it needs root and what scripts/install-test-system.sh installs. Counted from the
job's first line to the end of the command: bytes that cross the network to the client, commands that the login node
runs, and file transfers. Then the same for NeMo-Run's attached mode, and the ratios; beside them the log's own size,
which is the least that can cross.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.slurm.cluster import Cluster  # noqa: E402  (the project's own test cluster and sshd)
from tests.slurm.sshd import SshServer  # noqa: E402

RECIPE = '# /// script\n# [tool.runspec]\n# name = "talk"\n# ///\n'
TALK = """
import sys, time
began = time.monotonic()
for part in range({seconds} * 10):
    print(("x" * 99 + "\\n") * round({megabytes} * 1e6 / {seconds} / 10 / 100), end="", flush=True)
    time.sleep(max(0.0, began + (part + 1) / 10 - time.monotonic()))
"""
PROFILE = """
[bench]
executor = "slurm"
tunnel = "ssh"
host = "login"
nproc_per_node = 1
time = "00:10:00"
python = "{python}"
remote_job_dir = "{root}/jobs"
"""
NEMO_RUN = """
import nemo_run as run
tunnel = run.SSHTunnel(host="127.0.0.1", port={port}, user="{user}", identity="{key}", job_dir="{root}/nemo-remote")
executor = run.SlurmExecutor(account="research", partition=None, time="00:10:00", packager=run.Packager(),
                             tunnel=tunnel, container_image=None)
with run.Experiment("bench", base_dir="{root}/nemo", skip_status_at_exit=True) as exp:
    script = run.Script(path="{python}", args=["-u", "{root}/talk.py"], entrypoint="env")
    exp.add(script, executor=executor, name="talk")
    exp.run(detach=False, tail_logs=True)
"""


class Counter:
    """A forwarder in front of sshd that counts what goes through to the client."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.to_client = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, counts), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                self.to_client += len(data) if counts else 0
                sink.sendall(data)
        except OSError:
            pass  # a client that goes away is the end of its connection, and no more
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Cost:
    """What crossed, and what was run."""

    megabytes: float
    commands: int
    seconds: float
    printed: float


class LoginNode:
    """sshd of the cluster, with a counter in front and a list of the commands that it was asked to run."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.sshd = SshServer(cluster.env)
        self.commands = root / "commands"
        self.commands.touch()
        note = root / "note.sh"
        note.write_text(f'echo >> {self.commands}\nexec bash -c "$SSH_ORIGINAL_COMMAND"\n')
        settings = self.sshd.dir / "sshd_config"
        sftp = "Subsystem sftp /usr/lib/openssh/sftp-server"  # a command, so that it is counted
        settings.write_text(settings.read_text().replace("Subsystem sftp internal-sftp", sftp))
        with settings.open("a") as file:
            file.write(f"ForceCommand bash {note}\n")
        self.sshd.start()
        self.counter = Counter((self.sshd.host, self.sshd.port))
        self._know_counter()
        self.path = self._ssh_on_path(root)

    def _know_counter(self) -> None:
        """Clients know the host by the counter's port."""
        for file in (self.sshd.config, self.sshd.known_hosts):
            file.write_text(file.read_text().replace(str(self.sshd.port), str(self.counter.port)))
        alias = self.sshd.config.read_text().replace("Host login", f"Host login {self.sshd.host}")
        self.sshd.config.write_text(alias)  # NeMo-Run's rsync knows the host by its address

    def _ssh_on_path(self, root: Path) -> str:
        folder = root / "bin"
        folder.mkdir()
        (folder / "ssh").write_text(f'#!/bin/bash\nexec {shutil.which("ssh")} -F {self.sshd.config} "$@"\n')
        (folder / "ssh").chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    @property
    def ran(self) -> int:
        return self.commands.stat().st_size


def follow(login: LoginNode, command: list[str], env: dict[str, str], begun: Callable[[], bool], out: Path) -> Cost:
    """Run an attached command to its end; counted from its job's first line."""
    with out.open("wb") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
        while not begun():
            if process.poll() is not None:
                sys.exit(f"{command[:2]} ended early:\n{out.read_text()[-3000:]}")
            time.sleep(0.05)
        began, crossed, ran = time.monotonic(), login.counter.to_client, login.ran
        if process.wait():
            print(f"note: exit code {process.returncode}: {out.read_text()[-500:]}")
    printed = out.read_bytes().count(b"x" * 99) / 1e4
    return Cost((login.counter.to_client - crossed) / 1e6, login.ran - ran, time.monotonic() - began, printed)


def measure(root: Path, cluster: Cluster, megabytes: int, seconds: int) -> dict[str, Cost]:
    """Both launchers, one after the other."""
    login = LoginNode(root, cluster)
    try:
        talk = TALK.format(seconds=seconds, megabytes=megabytes)
        texts = {"talk.py": RECIPE + talk, "talk.yaml": "a: 1\n"}
        texts["env.toml"] = PROFILE.format(python=sys.executable, root=root)
        for name, text in texts.items():
            (root / name).write_text(text)
        env = {**os.environ, "PATH": login.path, "LAUNCH_ENV": str(root / "env.toml"), "NEMORUN_HOME": f"{root}/nemo"}
        env["XDG_RUNTIME_DIR"] = str(login.sshd.dir)  # the master connection ends with the benchmark
        ours = [sys.executable, str(ROOT / "launch.py"), str(root / "talk.py"), "-c", str(root / "talk.yaml")]
        theirs = NEMO_RUN.format(
            port=login.counter.port, user=login.sshd.user, key=login.sshd.key, root=root, python=sys.executable
        )

        def logged(pattern: str) -> Callable[[], bool]:
            return lambda: any(path.stat().st_size > 0 for path in root.glob(pattern))

        return {
            "launch.py --run": follow(
                login, [*ours, "--run", "bench"], env, logged("jobs/*/logs/rank-0.log"), root / "ours"
            ),
            "NeMo-Run, attached": follow(
                login, [sys.executable, "-c", theirs], env, logged("nemo-remote/**/log-*.out"), root / "theirs"
            ),
        }
    finally:
        login.sshd.remove()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster("--dbd", shared=(Path(folder),))
        try:
            cluster.up()
            costs = measure(Path(folder), cluster, args.megabytes, args.seconds)
        finally:
            cluster.down()
    base = costs["NeMo-Run, attached"]
    for name, cost in costs.items():
        crossed = f"{cost.megabytes:8.1f} MB crossed (x {cost.megabytes / args.megabytes:.2f} of the log"
        against = f"x {cost.megabytes / base.megabytes:.3f} of NeMo-Run's)"
        ran = f"{cost.commands:4d} commands (x {cost.commands / base.commands:.2f})"
        print(f"{name:<20} {crossed}, {against}, {ran}, {cost.printed:.1f} MB of the log shown, {cost.seconds:.0f} s")


if __name__ == "__main__":
    main()
