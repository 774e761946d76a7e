"""`image PROFILE import|list|remove`: the images of a cluster that were imported to files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from automodel_launch import executors, workspace
from automodel_launch.errors import ClusterError, ProfileError, UsageError
from automodel_launch.executors.containers import image_cache, images
from automodel_launch.executors.containers.images import Image
from automodel_launch.profile import profiles
from automodel_launch.profile.schema import Profile, keys_of
from automodel_launch.profile.validation import validate
from automodel_launch.remote.shell import Shell


def image(args: argparse.Namespace) -> int:
    """One of the three; the exit code of the import is that of its job."""
    here = workspace.find(args.env)
    values, sources = profiles.merge(profiles.load(here.env_file, args.profile).layers(args.profile))
    profile = validate(values, lambda key: f"{key} ({sources.get(key, args.profile)})")
    executor = executors.get(profile.executor)
    known = "image_cache" in keys_of(profile.executor)
    if not known or profile.image_cache is None:
        what = "image_cache" + (" is not set" if known else f": not with {profile.executor}")
        fix = 'image_cache = "/shared/images" in a profile with executor = "slurm"; Docker keeps its own: docker pull'
        raise ProfileError(f"profile {args.profile}: {what}.", fix)
    cache = image_cache.folder(profile, sources.get("image_cache", args.profile)) or ""
    shell = executor.shell(profile)
    if args.action == "list":
        return _list(shell, cache, args.json)
    wanted = args.image or profile.container_image
    if wanted is None or images.wanted(wanted) is None:
        raise UsageError(
            f"which image? profile {args.profile} has no container_image.", f"image {args.profile} {args.action} NAME"
        )
    source = "command line" if args.image else sources.get("container_image", args.profile)
    if args.action == "remove":
        return _remove(shell, cache, image_cache.file_name(wanted, source))
    return _import(shell, profile, cache, images.read(wanted, source))


def _import(shell: Shell, profile: Profile, cache: str, image: Image) -> int:
    if image.path:
        raise UsageError(f"{image.path} is a file already; it is used as it is.")
    _say(f"importing {image.for_docker} to {cache}/{image.cache_name} on {shell.place}, as a job of its own ...")
    script = image_cache.submit_script(profile, image_cache.import_script(cache, image))
    code = shell.attached(script)
    if code:
        raise ClusterError(
            f"{image.for_docker} was not imported (exit code {code}); nothing was left behind.",
            "who may read it stands in ~/.config/enroot/.credentials on the cluster",
        )
    return 0


@dataclass(frozen=True)
class File:
    """A file of the cache; `imported` is unix seconds, `whole` whether it is as enroot has written it."""

    file: str
    bytes: int
    imported: int
    whole: bool


def _list(shell: Shell, cache: str, as_json: bool) -> int:
    rows = [line.split(" ", 4) for line in shell.run(image_cache.list_script(cache)).out.splitlines()]
    found = [
        File(f"{cache}/{name}", int(size), int(when), kind == "squashfs" and told in ("-", size))
        for size, told, kind, when, name in rows
    ]
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return 0
    for row in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.imported))
        print(f"{row.bytes:>15,}  {when}  {'' if row.whole else 'BROKEN  '}{row.file}")
    return 0


def _remove(shell: Shell, cache: str, name: str) -> int:
    done = shell.run(image_cache.remove_script(cache, name))
    if done.code == 44:
        raise UsageError(f"{cache}/{name}: there is none.", "image PROFILE list")
    if done.code:
        raise ClusterError(f"{cache}/{name} cannot be removed: {' '.join(done.err.split())}")
    _say(f"removed {cache}/{name}")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
