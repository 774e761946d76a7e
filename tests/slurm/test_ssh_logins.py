"""A real sshd and people as they are: their login shells, what stands in their start-up files and their ssh_config."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from automodel_launch.errors import ClusterError, ProfileError, UsageError
from automodel_launch.executors.slurm import variables
from automodel_launch.launch.tails import Tail, new_lines
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import login_shell, probes, ssh
from automodel_launch.remote.filesystem import RemoteFileSystem
from automodel_launch.remote.ssh import SshShell
from tests.conftest import LIMIT_S
from tests.slurm.conftest import need
from tests.slurm.sshd import PASSWORD, SSHD, UID, SshServer
from tests.workbench import Bench, make_bench, refused

Serve = Callable[..., SshServer]
HOSTILE = 'it\'s $HOME `id` \\ "q" !x\nü\t%s;*'


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server for an unprivileged user with that login shell; the alias `login` is known to `ssh` then."""
    need(os.getuid() == 0 and SSHD is not None and shutil.which("unshare") is not None, "root, sshd and unshare")
    servers: list[SshServer] = []

    def start(login_shell: str = "/bin/bash", *settings: str, **files: str) -> SshServer:
        """`files`: start-up files without their dot."""
        need(Path(login_shell).exists(), login_shell)
        server = SshServer(login_shell=login_shell)
        servers.append(server)
        for name, text in files.items():
            server.at_home(f".{name}", text)
        server.set(*settings)
        server.start()
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "ssh").write_text(f'#!/bin/bash\nexec {shutil.which("ssh")} -F {server.config} "$@"\n')
        (folder / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(server.dir))
        monkeypatch.setattr(ssh, "_ways", {})
        monkeypatch.setattr(ssh, "_failed", {})
        monkeypatch.setattr(ssh, "REMEMBER_S", 0.0)
        monkeypatch.setattr(variables, "_known", {})
        return server

    yield start
    for server in servers:
        server.remove()


def _exact(shell: SshShell) -> None:
    """Hostile words, bytes and exit codes come and go as they are."""
    data = bytes(range(256)) * 300
    done = shell.run_bytes(f"printf %s {quote(HOSTILE)}; cat; printf no-newline >&2; exit 43", data)
    assert done == (43, HOSTILE.encode() + data, b"no-newline")
    assert shell.run("id -un").out == "ada\n"


ENDS = ["exit 0", "exit 3", "exec tcsh", "exec zsh", "exec bash --norc", "exec true", "fish; exit"]
NOISY = 'echo Welcome; printf "12 mails"; echo warning >&2\n'


@pytest.mark.parametrize("login_shell", ["/bin/bash", "/bin/sh", "/bin/tcsh", "/usr/bin/zsh", "/usr/bin/fish"])
def test_any_login_shell_and_whatever_its_start_up_files_print(serve: Serve, login_shell: str) -> None:
    server = serve(
        login_shell,
        bashrc=NOISY,
        zshenv=NOISY,
        cshrc='echo Welcome; sh -c "echo warning >&2"\nsetenv FROM_FILE yes\n',
    )
    server.at_home(".config/fish/config.fish", "echo Welcome; echo warning >&2\n")
    _exact(SshShell("login"))


def test_start_up_files_are_read_once_and_only_by_the_login_shell(serve: Serve) -> None:
    count = "echo x >> ~/count; export BASH_ENV=~/.env\n"
    server = serve(bashrc=count, env="echo y >> ~/count; echo noise\n")
    assert SshShell("login").run("bash -c 'echo inner'; timeout 9 bash -c 'echo deep'").out == "inner\ndeep\n"
    calls = 2  # the connection, and the script
    assert sorted((server.home / "count").read_text().split()) == ["x"] * calls + ["y"] * calls


@pytest.mark.parametrize("ends", ENDS)
def test_a_start_up_file_that_ends_or_runs_another_shell_is_named(serve: Serve, ends: str) -> None:
    server = serve(bashrc=f"echo before; {ends}\n")
    said = refused(
        ClusterError, lambda: SshShell("login").run("echo done > ~/done"), "login: ", "another one", "~/.bashrc"
    )
    assert "launch-" not in said
    assert not (server.home / "done").exists(), "another shell has run our script"


def test_a_start_up_file_that_reads_standard_input_is_named(serve: Serve) -> None:
    serve(bashrc="cat > /dev/null\n")
    refused(ClusterError, lambda: SshShell("login").run("true"), "reads standard input", "</dev/null")


def test_a_script_that_is_followed_shows_its_talk_and_no_more(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    serve(bashrc="echo Welcome\n")
    assert SshShell("login").attached("echo importing ... >&2; cat; exit 44") == 44
    assert capfd.readouterr() == ("", "importing ...\n")


@pytest.mark.parametrize(
    ("login_shell_", "file", "line"),
    [
        ("/bin/tcsh", ".cshrc", "set path = ()"),
        ("/usr/bin/zsh", ".zshenv", "path=()"),
        ("/usr/bin/fish", ".config/fish/config.fish", "set PATH /nowhere"),
        ("/bin/bash", ".bashrc", "PATH=/nowhere"),
    ],
)
def test_a_login_node_without_bash_says_so(serve: Serve, login_shell_: str, file: str, line: str) -> None:
    serve(login_shell_).at_home(file, f"{line}\n")
    refused(ClusterError, lambda: SshShell("login").run("true"), "bash is not on the PATH")


def test_an_account_without_a_shell_says_so(serve: Serve) -> None:
    serve("/usr/sbin/nologin")
    refused(ClusterError, lambda: SshShell("login").run("true"), "This account is currently not available")


def test_what_ssh_config_sets_for_people_does_not_reach_commands(serve: Serve) -> None:
    server = serve()
    lines = [
        *("RemoteCommand tmux attach", "RequestTTY force", "SessionType none", "StdinNull yes", "LogLevel QUIET"),
        *("ForkAfterAuthentication yes", "ForwardX11 yes", "PermitLocalCommand yes", "LocalCommand echo local"),
        *(f"LocalForward {server.port} localhost:1", "ExitOnForwardFailure yes", "IgnoreUnknown UseKeychain"),
        "UseKeychain yes",
    ]
    with server.config.open("a") as file:
        file.write("".join(f"  {line}\n" for line in lines))
    _exact(SshShell("login"))


def test_the_logs_of_very_many_ranks_come_in_few_calls(serve: Serve) -> None:
    server = serve("/bin/tcsh")
    for rank in range(3000):
        server.home.joinpath(f"rank-{rank}.log").write_text(f"line of {rank}\n")
    tails = {rank: Tail(server.home / f"rank-{rank}.log") for rank in range(3000)}
    place = RemoteFileSystem(SshShell("login"))
    assert list(new_lines(tails, place)) == [(rank, f"line of {rank}") for rank in range(3000)]
    assert list(new_lines(tails, place)) == []


# The job root there

SITE = """[far]
executor = "slurm"
tunnel = "ssh"
host = "login"
gpus_per_node = 1
time = "1:00"
container_image = "none"
remote_job_dir = "{root}"
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # NeMo-Run reads it to make a script; pytest refuses that
    return make_bench(tmp_path)


def _planned(bench: Bench, root: str, **options: Any) -> Plan:
    bench.env(SITE.format(root=root))
    return bench.plan(profile="far", **options)


def test_a_job_root_may_be_named_by_what_the_cluster_knows(serve: Serve, bench: Bench) -> None:
    """As mounts may; of the cluster's user, and of a login shell, as jobs have it."""
    server = serve("/bin/tcsh", login="setenv SCRATCH /scratch/ada/\n", cshrc="echo Welcome\n")
    assert _planned(bench, "~/jobs").job_root == f"{server.home}/jobs"
    plan = _planned(bench, "${SCRATCH}/jobs")
    assert (plan.job_root, plan.data_dir) == ("/scratch/ada/jobs", "/scratch/ada/jobs/data")
    assert "SCRATCH" not in plan.script
    refused(ProfileError, lambda: _planned(bench, "$NO_SUCH/jobs"), "remote_job_dir", "NO_SUCH", "login shell of login")
    refused(UsageError, lambda: _planned(bench, "~/jobs", offline=True), "remote_job_dir", "--offline")
    server.stop()
    assert _planned(bench, "/scratch/jobs").job_root == "/scratch/jobs", "nothing is asked where nothing is to be known"


def test_fresh_starts_a_run_beside_one_that_is_there(serve: Serve, bench: Bench) -> None:
    server = serve()
    first = _planned(bench, "~/jobs")
    for name in (first.run_name, f"{first.run_name}.7"):
        server.at_home(f"jobs/{name}/file", "")
    assert _planned(bench, "~/jobs").run_name == first.run_name
    fresh = _planned(bench, "~/jobs", fresh=True)
    assert (fresh.run_name, fresh.job_id) == (f"{first.run_name}-2", f"{first.run_name}-2.1")
    root = f"{server.home}/jobs"
    refused(UsageError, lambda: _planned(bench, root, fresh=True, offline=True), "--fresh", "--offline")
    assert _planned(bench, root, offline=True).run_name == first.run_name


def test_what_is_put_there_is_new_and_belongs_to_who_logs_in(serve: Serve, tmp_path: Path) -> None:
    """Purges of scratch space take the oldest files first; and a laptop's numbers of users mean nothing there."""
    server, source = serve(), tmp_path / "source"
    source.write_text("x")
    os.utime(source, (0, 0))
    os.chown(source, 4711, 4711)
    source.chmod(0o750)
    began = time.time() - 2
    place = RemoteFileSystem(SshShell("login"))
    place.put(str(server.home), {"a/b": source}, {"c/d": "text"})
    for name in ("a", "a/b", "c", "c/d"):
        found = (server.home / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mtime > began) == (UID, UID, True), name
    assert (server.home / "a/b").stat().st_mode & 0o777 == 0o750


# What Slurm gives to jobs


def _jobs_have(name: str) -> probes.Result:
    return probes.run(SshShell("login"), {"q": login_shell.question(f'echo "{name}=${name}"; exit 5')})["q"]


@pytest.mark.parametrize(
    ("login_shell_", "file", "line"),
    [
        ("/bin/bash", ".bash_profile", "export A=b"),
        ("/bin/sh", ".profile", "export A=b"),
        ("/bin/tcsh", ".login", "setenv A b"),
        ("/usr/bin/zsh", ".zlogin", "export A=b"),
        ("/usr/bin/fish", ".config/fish/config.fish", "if status is-login; set -x A b; end"),
    ],
)
def test_the_environment_of_jobs_is_that_of_a_login_shell_of_ones_own(
    serve: Serve, login_shell_: str, file: str, line: str
) -> None:
    server = serve(login_shell_)
    server.at_home(file, f"echo noise\n{line}\n")
    assert _jobs_have("A") == probes.Result(5, "A=b")


@pytest.mark.parametrize("ends", ENDS)
def test_a_login_shell_that_gives_jobs_none_is_told_from_one_that_does(serve: Serve, ends: str) -> None:
    server = serve(bash_profile=f"echo before; {ends}\n")
    assert (login_shell.lost(_jobs_have("A")) or "").startswith("/bin/bash, as a login shell, ends or runs another")
    server.at_home(".bash_profile", f'case $- in *i*) {ends} ;; esac\n[ -z "$SSH_CONNECTION" ] || {{ {ends}; }}\n')
    assert login_shell.lost(_jobs_have("A")) is None


# Second factors

TWO_FACTORS = "AuthenticationMethods publickey,password"


def _by_hand(server: SshServer, *words: str) -> None:
    """A person at a terminal, who types the password."""
    ask = server.dir / "ask"
    ask.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    ask.chmod(0o755)
    config = server.config.read_text()
    server.config.write_text(config.replace("  BatchMode yes\n", ""))
    environ = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    quiet = subprocess.DEVNULL  # what stays behind as master would hold a pipe open
    subprocess.run(words, env=environ, stdin=quiet, stdout=quiet, stderr=quiet, check=True, timeout=LIMIT_S)


def _logins(server: SshServer) -> int:
    return server.log.read_text().count("Accepted password")


def test_a_connection_that_a_person_has_opened_is_used(serve: Serve) -> None:
    server = serve("/bin/bash", TWO_FACTORS)
    with server.config.open("a") as file:
        file.write(f"  ControlPath {server.dir}/cm-%C\n  ControlMaster auto\n  ControlPersist yes\n")
    shell = SshShell("login")
    refused(ClusterError, lambda: shell.run("true"), "Permission denied", "second factor", "ssh -fNM -S ")
    _by_hand(server, "ssh", "login", "true")
    _exact(shell)  # in the process that was refused before, as one that follows a job
    ssh._ways.clear()
    _exact(shell)
    assert _logins(server) == 1
    subprocess.run(["ssh", "-O", "exit", "login"], capture_output=True, check=True)
    refused(ClusterError, lambda: shell.run("true"), "second factor")
    _by_hand(server, "ssh", "login", "true")
    _exact(shell)


def test_the_command_that_a_refusal_names_opens_the_connection(serve: Serve) -> None:
    server = serve("/bin/bash", TWO_FACTORS)
    shell = SshShell("login", "ada", str(server.key))
    with pytest.raises(ClusterError) as caught:
        shell.run("true")
    command = str(caught.value.hint).rpartition("launch again: ")[2]
    assert command.startswith("ssh -fNM -S ")
    _by_hand(server, "bash", "-c", command)
    _exact(shell)
    assert _logins(server) == 1


def test_a_persons_path_without_an_open_connection_keeps_nobody_from_ours(serve: Serve) -> None:
    server = serve()
    left = server.dir / "left"
    left.touch()  # as after a crash
    with server.config.open("a") as file:
        file.write(f"  ControlPath {left}\n  ControlMaster auto\n")
    _exact(SshShell("login"))
    assert server.log.read_text().count("Accepted publickey") == 1
