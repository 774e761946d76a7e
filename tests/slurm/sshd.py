"""A real sshd on the loopback address, for everything that goes through OpenSSH."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.slurm.cluster import wait_until

SSHD = shutil.which("sshd", path="/usr/local/sbin:/usr/sbin:/sbin")


class SshServer:
    """Lets the current user in with one key and with nothing else. `config` is a client's ssh_config that knows it.

    The host alias in it is `login`; `key`, `known_hosts`, `host`, `port` and `user` serve tests that write their own.
    """

    host = "127.0.0.1"

    def __init__(self, env: dict[str, str] | None = None) -> None:
        """`env`: variables of every session, as a login node has SLURM_CONF."""
        self.dir = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.user = getpass.getuser()
        self.key = self.dir / "id_ed25519"
        self.host_key = self.dir / "host_key"
        self.known_hosts = self.dir / "known_hosts"
        self.config = self.dir / "ssh_config"
        self.log = self.dir / "sshd.log"
        self._pid_file = self.dir / "sshd.pid"
        self.port = self._free_port()
        self._write_files(env or {})

    def _free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            port: int = probe.getsockname()[1]
            return port

    def _write_files(self, env: dict[str, str]) -> None:
        for key in (self.key, self.host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key], check=True)
        authorized = self.dir / "authorized_keys"
        shutil.copy(f"{self.key}.pub", authorized)
        algorithm, public, _ = Path(f"{self.host_key}.pub").read_text().split()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {algorithm} {public}\n")
        server = [
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.host_key}",
            f"PidFile {self._pid_file}",
            f"AuthorizedKeysFile {authorized}",
            "AuthenticationMethods publickey",
            "PermitRootLogin prohibit-password",
            "StrictModes no",  # it refuses keys below a directory that others can write to, such as /tmp
            "UsePAM no",
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
        ]
        if env:  # one line: sshd takes the first SetEnv only
            server.append("SetEnv " + " ".join(f'{name}="{value}"' for name, value in env.items()))
        client = [
            "Host login",
            f"  HostName {self.host}",
            f"  Port {self.port}",
            f"  User {self.user}",
            f"  IdentityFile {self.key}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.known_hosts}",
            "  StrictHostKeyChecking yes",
            "  BatchMode yes",
        ]
        (self.dir / "sshd_config").write_text("\n".join(server) + "\n")
        self.config.write_text("\n".join(client) + "\n")

    def start(self) -> None:
        assert SSHD, "no sshd; install it with scripts/install-test-system.sh"
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it; a service would have made it
        # Ends with the test session, however that ends. sshd itself offers no such thing.
        guarded = ["setpriv", "--pdeathsig", "TERM", SSHD, "-D", "-f", f"{self.dir}/sshd_config", "-E", f"{self.log}"]
        self._process = subprocess.Popen(guarded, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(self._accepts, 10, "sshd accepts connections", interval=0.02)

    def _accepts(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"sshd ended: {self.log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def stop(self) -> None:
        """Nobody gets in any more, and open connections break, as in a reboot of the login node."""
        pids = [*_descendants(self._process.pid), self._process.pid]
        self._process.terminate()
        self._process.wait(timeout=10)
        for pid in pids:
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):  # what people started there lives on
                    os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def remove(self) -> None:
        if self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir)

    def run(self, command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        ssh = ["ssh", "-F", str(self.config), "login", command]
        return subprocess.run(ssh, capture_output=True, text=True, timeout=timeout)


def _descendants(pid: int) -> list[int]:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [found for child in map(int, children) for found in (*_descendants(child), child)]
