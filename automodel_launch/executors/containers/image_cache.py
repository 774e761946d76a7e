"""Images imported once to .sqsh files of a cluster's own: the scripts that do it, run there.

A file appears under its name whole or not at all: enroot writes under another name, which is then renamed. Beside it
lies NAME.sqsh.info with its size and where it came from. Credentials stay in enroot's own file on the cluster.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from automodel_launch.errors import ProfileError
from automodel_launch.executors.containers import images, sqsh
from automodel_launch.executors.containers.images import Image
from automodel_launch.plan import mounts as mounts_
from automodel_launch.remote.slurm_environment import PLAIN

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

JOB_NAME = "image-import"
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
    """Bash that imports an image; run again, it finds the file there. Two at once wait for each other."""
    name, uri = image.cache_name, f"{images.PREFIX}{image.for_pyxis}"
    return f"""set -eu
cache={mounts_.shell(cache)} name={shlex.quote(name)} uri={shlex.quote(uri)}
mkdir -p "$cache"
whole() {{
  [ "$(head -c 4 "$1" 2>/dev/null)" = {sqsh.MAGIC} ] || return 1
  [ "$(stat -c %s "$1")" = "$(sed -n 's/^size //p' "$1.info" 2>/dev/null)" ]
}}
exec 9> "$cache/.$name.lock"
flock 9
if whole "$cache/$name"; then echo "$cache/$name is there already"; exit 0; fi
command -v enroot > /dev/null || {{ echo "enroot is not installed on $(hostname)" >&2; exit 127; }}
part=$cache/.$name.${{SLURM_JOB_ID:-$$}}.part.sqsh
trap 'rm -f "$part"' EXIT
trap 'exit 143' TERM INT HUP
rm -f "$part"
enroot import --output "$part" "$uri"
[ "$(head -c 4 "$part")" = {sqsh.MAGIC} ] || {{ echo "enroot import wrote no squashfs file" >&2; exit 1; }}
printf 'size %s\\nfrom %s\\n' "$(stat -c %s "$part")" "$uri" > "$cache/.$name.info"
mv -f "$cache/.$name.info" "$cache/$name.info"
mv -f "$part" "$cache/$name"
echo "$cache/$name: $(stat -c %s "$cache/$name") bytes"
"""


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
