"""Images imported once to .sqsh files of a cluster's own: the scripts that do it, run there.

A file appears under its name whole or not at all: enroot writes under another name, which is then renamed. Beside it
lies NAME.sqsh.info with its size and where it came from. Credentials stay in enroot's own file on the cluster.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from automodel_launch.contract import NOT_FOUND
from automodel_launch.errors import ProfileError
from automodel_launch.executors.containers import images, sqsh
from automodel_launch.executors.containers.images import Image
from automodel_launch.jobs import container_advice
from automodel_launch.plan import mounts as mounts_
from automodel_launch.remote.slurm_environment import PLAIN

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

JOB_NAME = "image-import"
_DEAD_MIN = 15
_NO_ENROOT, _KIND = 98, 100  # exit codes of the import; the second one, and those after it: of a kind of advice
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+%-]*\.sqsh")


def folder(profile: Profile, source: str) -> str | None:
    """`image_cache`, or None.

    Raises:
        ProfileError: it is no absolute path.
    """
    path = profile.image_cache
    if path is not None and not (images.is_path(path) and path.isprintable() and ".." not in path.split("/")):
        raise ProfileError(f"image_cache = {path!r} ({source}): expected an absolute path on the cluster.")
    return path and path.rstrip("/")


def cached(image: Image, profile: Profile, source: str) -> Image:
    """The file in the cache that stands for an image; the image itself where it is a file already, or has no cache."""
    where = folder(profile, source)
    return Image(path=f"{where}/{image.cache_name}") if where and image.path is None else image


def import_script(cache: str, image: Image) -> str:
    """Bash that imports an image; run again, it finds the file there. Two at once wait for each other.

    The lock is the kernel's, so a killed import leaves none, and its file goes away with the import. Where it cannot be
    had (another user's file, a file system without locks) the import does without: a file is only put there whole.
    """
    name, uri = image.cache_name, f"{images.PREFIX}{image.for_pyxis}"
    kinds = " ".join(shlex.quote(pattern) for pattern, _ in container_advice.KINDS)
    return f"""set -eu
cache={mounts_.shell(cache)} name={shlex.quote(name)} uri={shlex.quote(uri)}
mkdir -p "$cache"
lock=$cache/.$name.lock part=$cache/.$name.${{SLURM_JOB_ID:-$$}}.part.sqsh
whole() {{
  [ "$(head -c 4 "$1" 2>/dev/null)" = {sqsh.MAGIC} ] || return 1
  [ "$(stat -c %s "$1")" = "$(sed -n 's/^size //p' "$1.info" 2>/dev/null)" ]
}}
locked() {{
  for _ in {{1..99}}; do
    (: >> "$lock") 2>/dev/null || [ -r "$lock" ] || return 1
    {{ exec 9< "$lock"; }} 2>/dev/null || continue # an import that has ended took it away
    code=0 && flock -n -E 99 9 || code=$?
    if [ "$code" = 99 ]; then
      echo "waiting for another import of it (if there is none: rm $lock, and import again)" >&2
      code=0 && flock 9 || code=$?
    fi
    [ "$code" = 0 ] || return 1
    [ "$lock" -ef /dev/fd/9 ] && return
  done
  return 1
}}
trap 'exit 143' TERM INT HUP
if locked; then
  trap 'rm -f "$part" "$part.log" "$lock" || :' EXIT
else
  trap 'rm -f "$part" "$part.log" || :' EXIT
fi
# of imports that were killed; one that lives writes all the time
find "$cache" -maxdepth 1 -name ".$name.*.part.sqsh*" -mmin +{_DEAD_MIN} -exec rm -f {{}} + 2>/dev/null || :
if whole "$cache/$name"; then echo "$cache/$name is there already"; exit 0; fi
command -v enroot > /dev/null || {{ echo "enroot is not installed on $(hostname)" >&2; exit {_NO_ENROOT}; }}
enroot import --output "$part" "$uri" 9>&- 2>&1 | tee "$part.log" 9>&- >&2
if [ "${{PIPESTATUS[0]}}" != 0 ]; then
  code={_KIND}
  for kind in {kinds}; do
    if grep -qE -e "$kind" "$part.log"; then exit "$code"; fi
    code=$((code + 1))
  done
  exit 1
fi
[ "$(head -c 4 "$part")" = {sqsh.MAGIC} ] || {{ echo "enroot import wrote no squashfs file" >&2; exit 1; }}
printf 'size %s\\nfrom %s\\n' "$(stat -c %s "$part")" "$uri" > "$cache/.$name.info"
mv -f "$cache/.$name.info" "$cache/$name.info"
mv -f "$part" "$cache/$name"
echo "$cache/$name: $(stat -c %s "$cache/$name") bytes"
"""


def advice(code: int) -> str:
    """What to do about the exit code of `submit_script`."""
    if code == _NO_ENROOT:
        return "build_partition = a partition whose nodes have enroot, in the profile"
    if code == NOT_FOUND:
        return "srun is not on the PATH of a login shell there; `doctor PROFILE` looks"
    if _KIND <= code < _KIND + len(container_advice.KINDS):
        return container_advice.KINDS[code - _KIND][1]
    return f"see the words above (exit code {code}); build_partition and build_time say where and how long it may run"


def submit_script(profile: Profile, script: str) -> str:
    """Bash that runs a script as a small Slurm job of its own, attached; its talk goes to standard error."""
    options = {
        "job-name": JOB_NAME,
        "nodes": "1",
        "ntasks": "1",
        "account": profile.account,
        "partition": profile.build_partition or profile.batch_partition or profile.partition,
        "time": profile.build_time,
        "qos": profile.qos,
        "reservation": profile.reservation,
    }
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    # inside an allocation srun would make a step of that
    return f"{PLAIN}exec srun {shlex.join(words)} bash -c {shlex.quote(script)} >&2"


def list_script(cache: str) -> str:
    """Bash that prints a line a file: size, size at its import (or -), squashfs or not, time, name."""
    return f"""cd {mounts_.shell(cache)} 2>/dev/null || exit 0
for file in *.sqsh; do
  [ -e "$file" ] || continue
  told=$(sed -n 's/^size //p' "$file.info" 2>/dev/null)
  [ "$(head -c 4 "$file" 2>/dev/null)" = {sqsh.MAGIC} ] && kind=squashfs || kind=broken
  printf '%s %s %s %s %s\\n' "$(stat -c %s "$file")" "${{told:--}}" "$kind" "$(stat -c %Y "$file")" "$file"
done
"""


def remove_script(cache: str, name: str) -> str:
    """Bash that removes one file; exits with 44 where it is not there."""
    return f"""cd {mounts_.shell(cache)} || exit 44
[ -e {shlex.quote(name)} ] || exit 44
rm -f {shlex.quote(name)} {shlex.quote(f"{name}.info")} {shlex.quote(f".{name}.lock")}
"""


def file_name(written: str, source: str) -> str:
    """The file of an image that a person names by its own name or by the file's."""
    return written if _FILE.fullmatch(written) else images.read(written, source).cache_name
