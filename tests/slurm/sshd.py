"""A real sshd on the loopback address, for everything that goes through OpenSSH."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import LIMIT_S
from tests.slurm.cluster import wait_until

USER, UID, PASSWORD = "ada", 54321, "lovelace"
SSHD = shutil.which("sshd", path="/usr/local/sbin:/usr/sbin:/sbin")


class SshServer:
    """Lets the current user in with one key and with nothing else. `config` is a client's ssh_config that knows it.

    The host alias in it is `login`; `key`, `known_hosts`, `host`, `port` and `user` serve tests that write their own.
    """

    host = "127.0.0.1"

    def __init__(self, env: dict[str, str] | None = None, login_shell: str | None = None) -> None:
        """`env`: variables of every session, as a login node has SLURM_CONF.

        `login_shell`: let in USER instead, who has no rights, that shell, the home directory `home` and PASSWORD. Only
        this server knows of such a user (root's tests only).
        """
        self.dir = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.user = USER if login_shell else getpass.getuser()
        self.home = self.dir / "home"
        self.login_shell = login_shell
        self.key = self.dir / "id_ed25519"
        self.host_key = self.dir / "host_key"
        self.known_hosts = self.dir / "known_hosts"
        self.config = self.dir / "ssh_config"
        self.log = self.dir / "sshd.log"
        self._pid_file = self.dir / "sshd.pid"
        self.port = self._free_port()
        self._write_files(env or {})

    def _free_port(self) -> int:
        """One that is this server's while it is stopped, too: of none that the kernel gives to whoever connects.

        The clusters of slurm-cluster begin at 17000.
        """
        for port in random.sample(range(10000, 17000), 100):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((self.host, port))
                return port
        raise RuntimeError("no free port between 10000 and 17000")

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
        if self.login_shell:
            self._write_user()

    def _write_user(self) -> None:
        self.dir.chmod(0o711)
        self.home.mkdir()
        shutil.chown(self.home, UID, UID)
        crypted = subprocess.run(["openssl", "passwd", "-6", PASSWORD], stdout=-1, text=True, check=True).stdout.strip()
        for name, line in (
            ("passwd", f"{USER}:x:{UID}:{UID}::{self.home}:{self.login_shell}\n"),
            ("shadow", f"{USER}:{crypted}:19000:0:99999:7:::\n"),
            ("group", f"{USER}:x:{UID}:\n"),
        ):
            (self.dir / name).write_text(Path("/etc", name).read_text() + line)

    def at_home(self, name: str, text: str) -> Path:
        """Write a file in the user's home directory, as a start-up file of the shell."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for one in (path, *path.parents):
            if self.home in (one, *one.parents):
                shutil.chown(one, UID, UID)
        return path

    def set(self, *lines: str) -> None:
        """Put lines before the server's own settings; the first one of a kind counts. Before it is started."""
        settings = self.dir / "sshd_config"
        settings.write_text("".join(f"{line}\n" for line in lines) + settings.read_text())

    def _in_its_own_world(self) -> list[str]:
        """Words before sshd's, so that it knows the user: in mounts of its own, other files stand for /etc's."""
        if not self.login_shell:
            return []
        binds = "".join(f"mount --bind {self.dir}/{name} /etc/{name} && " for name in ("passwd", "shadow", "group"))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{binds} exec "$@"', "sshd"]

    def start(self) -> None:
        assert SSHD, "no sshd; install it with scripts/install-test-system.sh"
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it; a service would have made it
        # Ends with the test session, however that ends. sshd itself offers no such thing.
        guarded = ["setpriv", "--pdeathsig", "TERM", SSHD, "-D", "-f", f"{self.dir}/sshd_config", "-E", f"{self.log}"]
        guarded = [*self._in_its_own_world(), *guarded]
        self._process = subprocess.Popen(guarded, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(self._accepts, LIMIT_S, "sshd accepts connections", interval=0.02)

    def _accepts(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"sshd ended: {self.log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def stop(self) -> None:
        """Nobody gets in any more, and open connections break, as in a reboot of the login node."""
        pids = [*_descendants(self._process.pid), self._process.pid]
        self._process.terminate()
        self._process.wait(timeout=LIMIT_S)
        for pid in pids:
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):  # what people started there lives on
                    os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def remove(self) -> None:
        if self._process.poll() is None:
            self.stop()
        wait_until(self._is_gone, LIMIT_S, "the server's files are removed")

    def _is_gone(self) -> bool:
        """Clients that lose their connection remove their sockets here meanwhile."""
        shutil.rmtree(self.dir, ignore_errors=True)
        return not self.dir.exists()

    def run(self, command: str, timeout: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        ssh = ["ssh", "-F", str(self.config), "login", command]
        return subprocess.run(ssh, capture_output=True, text=True, timeout=timeout)


def _descendants(pid: int) -> list[int]:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [found for child in map(int, children) for found in (*_descendants(child), child)]
