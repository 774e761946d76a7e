"""The commands of a Mac: those that it has, with no option that only GNU's have; the others are not there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Not among them, though every Linux has them: timeout, setsid, flock, nproc, sha256sum, md5sum, tac, realpath, free.
_SAME = (
    *("sh", "cat", "chmod", "chown", "cksum", "cmp", "comm", "cut", "diff", "dirname", "basename", "echo", "expr"),
    *("false", "true", "hostname", "id", "kill", "mkdir", "mkfifo", "ln", "nice", "od", "pwd", "rm", "rmdir", "sleep"),
    *("tee", "test", "touch", "tr", "uname", "uniq", "wc", "whoami", "awk", "git", "tar", "gzip", "tty", "which"),
    *("printenv", "seq", "perl", "nohup", "paste", "split", "stty", "tput", "curl", "c++", "cc", "make", "unzip"),
    *("ssh", "ssh-add", "ssh-keygen", "docker"),
)
# Options (patterns of sh) that a Mac's refuses.
_OTHER = {
    "cp": "--*|-t*",
    "date": "--*|-d*",
    "df": "--*",
    "du": "--*|-b",
    "env": "--*|-0",  # before macOS 13
    "find": "-printf|-executable|-readable|-writable",
    "grep": "--*|-P*",
    "head": "--*|-n-*|-c-*",
    "ls": "--*",
    "mktemp": "--*",
    "mv": "--*|-t*",
    "readlink": "--*|-f|-e|-m",  # -f: before macOS 12.3
    "sed": "--*|-i|-z",
    "sort": "--*",
    "stat": "--*|-c*|-f*|-L*|-t*|-Z*",  # its -f takes another kind of format
    "tail": "--*",
    "xargs": "--*|-d*",
}
_OTHER_SH = """#!/bin/sh
for word; do
  case $word in {refused}) echo "{name}: illegal option -- $word" >&2; exit 1 ;; esac
done
exec {real} "$@"
"""
# The real one reads /proc. POSIX: after `=` comes a title, to the word's end, so that each field has a -o of its own.
_PS = """#!{python} -IS
import os, sys, time
proc, wanted, fields, words = {proc!r}, None, [], sys.argv[1:]
while words:
    word = words.pop(0)
    if word == "-p":
        wanted = words.pop(0)
    elif word == "-o":
        fields.append(words.pop(0))
    elif word not in ("-A", "-ax"):
        sys.exit(f"ps: illegal option -- {{word}}")
assert all(field in ("pid=", "ppid=", "stat=", "lstart=") for field in fields), fields
with open(proc + "/stat") as file:
    booted = next(int(line.split()[1]) for line in file if line.startswith("btime"))
shown = 0
for pid in sorted(name for name in os.listdir(proc) if name.isdigit()):
    if wanted not in (None, pid):
        continue
    try:
        with open(f"{{proc}}/{{pid}}/stat") as file:
            said = file.read().rpartition(")")[2].split()
    except OSError:
        continue
    began = time.localtime(booted + int(said[19]) // os.sysconf("SC_CLK_TCK"))
    values = {{"pid=": pid, "ppid=": said[1], "stat=": said[0] + "s", "lstart=": time.strftime("%c", began)}}
    print(*(values[field] for field in fields))
    shown += 1
sys.exit(0 if shown else 1)
"""

# `lsof -- FILE`: whether a process has it open.
_LSOF = """#!{python} -IS
import glob, os, sys
dashes, path = sys.argv[1:]
def target(link):
    try:
        return os.readlink(link)
    except OSError:
        return None
held = [link for link in glob.glob({proc!r} + "/[0-9]*/fd/*") if target(link) == os.path.realpath(path)]
print("\\n".join(held))
sys.exit(0 if held else 1)
"""


def install(folder: Path, proc: Path, bash: str | None = None) -> None:
    """Fill the only folder of the PATH. `proc`: where `ps` finds the kernel's own; `bash`: one of macOS's version."""
    folder.mkdir()
    for name in _SAME:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    (folder / "bash").symlink_to(bash or shutil.which("bash") or "/bin/bash")
    for name, refused in _OTHER.items():
        _script(folder / name, _OTHER_SH.format(refused=refused, name=name, real=shutil.which(name)))
    _script(folder / "ps", _PS.format(python=os.path.realpath(sys.executable), proc=str(proc)))
    _script(folder / "lsof", _LSOF.format(python=os.path.realpath(sys.executable), proc=str(proc)))
    for name in ("python", "python3"):
        _script(folder / name, f'#!/bin/sh\nexec {sys.executable} "$@"\n')


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
