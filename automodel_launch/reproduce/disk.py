"""Sizes of directories, and their removal, where jobs lie; nothing outside of a given directory, whatever links say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from automodel_launch.errors import ClusterError
from automodel_launch.remote.filesystem import FileSystem, shell_of
from automodel_launch.remote.shell import Shell

Place = tuple[str, str]  # a directory, and a path below it
GONE, LINK, OUTSIDE = "gone", "link", "outside"
WHY = {LINK: "it is a link", OUTSIDE: "a link above it leads elsewhere"}
ASK_S = 600.0
REMOVED = ".removed-"  # before the name of what is being removed, as recipes/checkpoint_lib/removal.py writes it
# Asked again before each removal: between a look and an act anybody may have put a link there.
_LIES = r"""
lies() {
  local base up
  base=$(cd -P -- "$1" 2>/dev/null && pwd -P) && up=$(cd -P -- "$(dirname -- "$1/$2")" 2>/dev/null && pwd -P) ||
    { echo gone; return 1; }
  case $up/ in "$base"/*) ;; *) echo outside; return 1 ;; esac
  [ ! -L "$1/$2" ] || { echo link; return 1; }
  [ -e "$1/$2" ] || { echo gone; return 1; }
}
look() { ! lies "$1" "$2" || echo $(($(du -sk -- "$1/$2" 2>/dev/null | cut -f1) + 0)); }
"""


def sizes(place: FileSystem, wanted: Sequence[Place]) -> list[int | str]:
    """Bytes on disk of each, in one round trip; GONE, or LINK or OUTSIDE for what is never touched.

    Raises:
        ClusterError: the place cannot be reached, or does not answer.
    """
    said = _each(place, "look", wanted)
    return [int(word) * 1024 if word.isdigit() else word for word in said]


# All of it is renamed while no job of the run can begin: what a removal that was killed has left is whole, or is none.
_TAKE = r"""
claim() { ls -1 -- "$run/claims" 2>/dev/null | grep -E '^[0-9]+$' | sort -n | tail -n 1; }
back() {
  local each
  for each in ${was[@]+"${!was[@]}"}; do mv -- "${now[each]}" "${was[each]}"; done
  echo busy
  exit
}
take() {
  local name up
  lies "$1" "$2" >/dev/null || { [ ! -e "$1/$2" ] && [ ! -L "$1/$2" ] || failed=1; return; }
  up=$1/$2 name=${2##*/} up=${up%/*}
  case $name in .removed-*) left+=("$up/$name"); return ;; esac
  rm -rf -- "$up/.removed-$name" && mv -- "$up/$name" "$up/.removed-$name" || { failed=1; return; }
  was+=("$up/$name") now+=("$up/.removed-$name")
}
if [ -e "$run/lock" ] && command -v flock >/dev/null; then
  exec 9>>"$run/lock" || exit
  flock -n 9 || back
fi
[ "$(claim)" = "$seen" ] || back
"""
_THEN = r"""
[ "$(claim)" = "$seen" ] || back
exec 9>&-
rm -rf -- ${now[@]+"${now[@]}"} ${left[@]+"${left[@]}"} && [ -z "$failed" ] && echo done || echo failed
"""


def remove(place: FileSystem, run_dir: str, claim: int | None, wanted: Sequence[Place]) -> bool:
    """Remove all of these of a run; False where one is still there, or a job of the run holds its lock or has claimed
    it since `claim`, the number of its last claim, was seen.

    Raises:
        ClusterError: the place cannot be reached, or does not answer.
    """
    head = f"run={shlex.quote(run_dir)} seen={'' if claim is None else claim} failed= left=() was=() now=()\n"
    calls = "".join(f"take {shlex.quote(base)} {shlex.quote(below)}\n" for base, below in wanted)
    return _said(shell_of(place), head + _LIES + _TAKE + calls + _THEN)[-1:] == ["done"]


def _each(place: FileSystem, verb: str, wanted: Sequence[Place]) -> list[str]:
    if not wanted:
        return []
    calls = "".join(f"{verb} {shlex.quote(base)} {shlex.quote(below)}\n" for base, below in wanted)
    shell = shell_of(place)
    said = _said(shell, _LIES + calls)
    if len(said) != len(wanted):
        raise ClusterError(f"{shell.place}: sizes cannot be told: no answer.")
    return said


def _said(shell: Shell, script: str) -> list[str]:
    """Its words; through standard input, as a command line holds no thousands of paths."""
    return shell.run("bash -s 2>/dev/null", script.encode("utf-8", "surrogateescape"), timeout=ASK_S).out.split()
