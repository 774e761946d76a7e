"""Commands here and over a fake ssh: what is started, what comes back, and what is said when the way is blocked."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from automodel_launch.errors import ClusterError
from automodel_launch.remote import ssh as ssh_
from automodel_launch.remote import ssh_sockets
from automodel_launch.remote.shell import Done, LocalShell
from automodel_launch.remote.ssh import SshShell
from tests.workbench import refused

# Notes its arguments, and does what an ssh would do on a host of its own.
SSH = """#!/bin/bash
printf '%s\\n' "$*" >> "$FAKE/calls"
case " $* " in *" -O check "*) exit 255;; *" -G "*) exit 0;; esac
for word; do case $word in ControlPath=*) : > "${word#*=}";; esac; done
[ -z "$FAKE_STDERR" ] || { printf '%b' "$FAKE_STDERR" >&2; exit 255; }
[ -z "$FAKE_SLEEP" ] || sleep "$FAKE_SLEEP"
printf '%b' "$FAKE_MOTD"
exec sh -c "${@: -1}"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `calls`, what the fake ssh was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    (tmp_path / "s").mkdir(mode=0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    for name in ("FAKE_STDERR", "FAKE_SLEEP", "FAKE_MOTD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(ssh_sockets, "_bases", lambda: [(str(tmp_path / "s"), False)])
    monkeypatch.setattr(ssh_sockets, "_LONGEST", 1000)
    monkeypatch.setattr(ssh_, "_failed", {})
    monkeypatch.setattr(ssh_, "_ways", {})
    return tmp_path


def test_a_script_here() -> None:
    done = LocalShell().run("cat; echo err >&2; exit 3", b"in")
    assert (done.code, done.out, done.err) == (3, "in", "err\n")


def test_the_cluster_of_a_job_is_kept() -> None:
    assert LocalShell("/a b/slurm.conf").run('printf %s "$SLURM_CONF"').out == "/a b/slurm.conf"


def test_a_command_that_leaves_its_output_open_does_not_hold_us() -> None:
    done = LocalShell().run("sleep 600 >/dev/null & echo $!", timeout=60)
    os.kill(int(done.out), signal.SIGKILL)  # it runs still


def test_no_start_up_file_is_read_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after `ssh login-node python launch.py`, and at sites that set BASH_ENV."""
    for name in (".bashrc", "env"):
        (tmp_path / name).write_text("echo noise\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_CLIENT", "10.0.0.1 1 22")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "env"))
    monkeypatch.delenv("SHLVL", raising=False)
    assert LocalShell().run("echo answer; bash -c 'echo inner'").out == "answer\ninner\n"


def test_no_answer_in_time() -> None:
    refused(ClusterError, lambda: LocalShell().run("sleep 9", timeout=0.2), "no answer within 0 s")


@pytest.mark.parametrize("text", ["a'; echo foo", "$(id)", "two\nlines", "ü🎉", '"\\$HOME`"'])
def test_hostile_words_arrive_as_they_are(ssh: Path, text: str) -> None:
    import shlex

    assert SshShell("h").run(f"printf %s {shlex.quote(text)}").out == text


def test_what_a_login_script_prints_is_left_out(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MOTD", "Welcome!\\n12 mails\\n")
    assert SshShell("h").run_bytes("printf 'a\\0b'")[1] == b"a\0b"


def test_bytes_through_standard_input(ssh: Path) -> None:
    data = bytes(range(256)) * 1000
    assert SshShell("h").run_bytes("cat", data)[1] == data


def test_options(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    SshShell("h", "me", "~/.ssh/key").run("true")
    call = (ssh / "calls").read_text().splitlines()[-1]
    plain = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ControlMaster=auto", "ConnectTimeout=8")
    for words in (*plain, "-l me", "-i /home/me/.ssh/key"):
        assert words in call


def test_the_socket_folder_is_private(ssh: Path) -> None:
    SshShell("h").run("true")
    (folder,) = (ssh / "s").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    refused(ClusterError, lambda: SshShell("h").run("true"), "not a private folder", "XDG_RUNTIME_DIR")


def test_a_link_is_no_socket_folder(ssh: Path) -> None:
    (ssh / "mine").mkdir(mode=0o700)
    (ssh / "s" / f"automodel-launch-{os.getuid()}").symlink_to(ssh / "mine")
    refused(ClusterError, lambda: SshShell("h").run("true"), "not a private folder")


def test_a_long_path_is_left_for_a_short_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert len(ssh_sockets.own("h", None, None)) <= 87


def test_a_session_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/no/such/folder")
    assert not ssh_sockets.own("h", None, None).startswith("/no")


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("@@@@@\\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\\n@@@@@\\n", "ssh-keygen -R"),
        ("No ED25519 host key is known for h and you have requested strict checking.\\n", "connect once by hand"),
        ("Host key verification failed.\\n", "connect once by hand"),
        ("me@h: Permission denied (publickey).\\n", "the key was refused"),
        ("ssh: Could not resolve hostname h: Name or service not known\\n", "alias of ~/.ssh/config"),
        ("ssh: connect to host h port 22: Connection refused\\n", "is the host up"),
        ("Connection timed out during banner exchange\\n", "is the host up"),
        ("something new\\n", "try: ssh h true"),
        ("", "no message"),
    ],
)
def test_why_ssh_failed(ssh: Path, monkeypatch: pytest.MonkeyPatch, said: str, fix: str) -> None:
    monkeypatch.setenv("FAKE_STDERR", said or "\\n")
    assert "@@" not in refused(ClusterError, lambda: SshShell("h").run("true"), "h: ssh", fix)


def test_a_host_that_says_nothing(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_, "GIVE_UP_S", 0.3)
    monkeypatch.setenv("FAKE_SLEEP", "5")
    refused(ClusterError, lambda: SshShell("h").run("true"), "no answer")


def test_many_calls_wait_for_one_failure(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ssh / "bin" / "ssh").write_text('#!/bin/bash\necho "$*" >> "$FAKE/calls"\nsleep 0.3\nexit 255\n')
    monkeypatch.setattr(ssh_, "REMEMBER_S", 60.0)
    for _ in range(5):
        with pytest.raises(ClusterError):
            SshShell("h").run("true")
    assert len([call for call in (ssh / "calls").read_text().splitlines() if " -- " in call]) == 1


@pytest.mark.parametrize(("ends", "told"), [("exit 255", "Broken pipe"), ("kill -9 $$", "broke off")])
def test_an_answer_that_breaks_off_is_no_answer(
    ssh: Path, ends: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SSH.replace("exec sh -c", "timeout $FAKE_LIMIT sh -c") + f"echo Broken pipe >&2; {ends}\n"
    (ssh / "bin" / "ssh").write_text(broken)
    monkeypatch.setenv("FAKE_LIMIT", "120")
    assert SshShell("h").run("echo whole").out == "whole\n", "what is complete counts, however ssh ends"
    monkeypatch.setenv("FAKE_LIMIT", "1")
    refused(ClusterError, lambda: SshShell("h").run("echo part; sleep 9"), "h: ", told)


def test_exit_code_255_of_a_script_is_its_own(ssh: Path) -> None:
    assert SshShell("h").run("echo no >&2; exit 255") == Done(255, "", "no\n")


def test_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(ClusterError, lambda: SshShell("no-such-host").run("true"), "not installed")


def test_a_folder_that_another_user_has_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """/tmp/automodel-launch-UID can be made by anybody; the home directory cannot."""
    temporary, home = Path("/tmp", f"t{os.getpid()}"), Path("/tmp", f"h{os.getpid()}")
    try:
        (temporary / f"automodel-launch-{os.getuid()}").mkdir(parents=True)
        (temporary / f"automodel-launch-{os.getuid()}").chmod(0o755)  # as good as another's
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        bases = [(str(temporary), False), (str(temporary), False), (str(home), True)]
        assert ssh_sockets._bases()[-1] == bases[-1]
        monkeypatch.setattr(ssh_sockets, "_bases", lambda: bases)
        path = Path(ssh_sockets.own("h", None, None))
        assert path.parent == home / ".automodel-launch"
        assert path.parent.stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr("socket.gethostname", lambda: "another")
        assert ssh_sockets.own("h", None, None) != str(path), "a home of many machines holds a socket for each"
    finally:
        shutil.rmtree(temporary)
        shutil.rmtree(home)
