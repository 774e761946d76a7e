"""`image PROFILE import|list|remove`: the images of a cluster that were imported to files."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from automodel_launch.commands import console
from automodel_launch.commands.command import Parser
from automodel_launch.commands.one_profile import Chosen, ProfileCommand
from automodel_launch.errors import ClusterError, ProfileError, UsageError
from automodel_launch.suggest import did_you_mean

if TYPE_CHECKING:  # `--help` needs no pydantic
    from automodel_launch.executors.containers.images import Image
    from automodel_launch.profile.schema import Profile
    from automodel_launch.remote.shell import Shell

ACTIONS = ("import", "list", "remove")


class Images(ProfileCommand):
    """The files in `image_cache`."""

    name = "image"

    def register(self, parser: Parser) -> None:
        """PROFILE, what to do, and the image."""
        super().register(parser)
        parser.add_argument("action", metavar="|".join(ACTIONS), help="make a file, show the files, remove one")
        parser.add_argument("image", metavar="IMAGE", nargs="?", help="default: the profile's container_image")

    def run(self, args: argparse.Namespace) -> int:
        """One of the three; the exit code of the import is that of its job."""
        if args.action not in ACTIONS:
            first, meant = args.profile in ACTIONS, did_you_mean(args.action, ACTIONS)
            hint = f"image {args.action} {args.profile}" if first else "launch.py image --help"
            raise UsageError(f"image: {args.action!r} is none of {', '.join(ACTIONS)}.{meant}", hint)
        chosen = self.choose(args)
        cache, shell = _cache(chosen), chosen.executor.shell(chosen.profile)
        if args.action == "list":
            return _list(shell, cache, args.json)
        from automodel_launch.executors.containers import image_cache, images

        wanted = args.image or chosen.profile.container_image
        if wanted is None or images.wanted(wanted) is None:
            raise UsageError(
                f"which image? profile {chosen.name} has no container_image.", f"image {chosen.name} {args.action} NAME"
            )
        source = "command line" if args.image else chosen.sources.get("container_image", chosen.name)
        if args.action == "remove":
            return _remove(shell, cache, image_cache.file_name(wanted, source))
        return _import(shell, chosen.profile, cache, images.read(wanted, source))


def _cache(chosen: Chosen) -> str:
    """The folder of the files.

    Raises:
        ProfileError: the profile has none.
    """
    from automodel_launch.executors.containers import image_cache
    from automodel_launch.profile.schema import keys_of

    profile, keys = chosen.profile, keys_of(chosen.profile.executor)
    if "image_cache" not in keys or profile.image_cache is None:
        what = "is not set" if "image_cache" in keys else f"has no effect with executor = '{profile.executor}'"
        fix = 'image_cache = "/shared/images" in a profile with executor = "slurm"; Docker keeps its own: docker pull'
        raise ProfileError(f"profile {chosen.name}: image_cache {what}.", fix)
    return image_cache.folder(profile, chosen.sources.get("image_cache", chosen.name)) or ""


def _import(shell: Shell, profile: Profile, cache: str, image: Image) -> int:
    from automodel_launch.executors.containers import image_cache

    if image.path:
        raise UsageError(f"{image.path} is a file already; it is used as it is.")
    console.say(f"importing {image.for_docker} to {cache}/{image.cache_name} on {shell.place}, as a job of its own ...")
    script = image_cache.submit_script(profile, image_cache.import_script(cache, image))
    code = shell.attached(script)
    if code:
        raise ClusterError(
            f"{image.for_docker} was not imported; nothing was left behind.",
            image_cache.advice(code),
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
    from automodel_launch.executors.containers import image_cache

    rows = [line.split(" ", 4) for line in shell.run(image_cache.list_script(cache)).out.splitlines()]
    found = [
        File(f"{cache}/{name}", int(size), int(when), kind == "squashfs" and told in ("-", size))
        for size, told, kind, when, name in rows
    ]
    if as_json:
        console.document([asdict(row) for row in found])
        return 0
    for row in found:
        console.out(f"{row.bytes:>15,}  {console.clock(row.imported)}  {'' if row.whole else 'BROKEN  '}{row.file}")
    return 0


def _remove(shell: Shell, cache: str, name: str) -> int:
    from automodel_launch.executors.containers import image_cache

    done = shell.run(image_cache.remove_script(cache, name))
    if done.code == 44:
        raise UsageError(f"{cache}/{name}: there is none.", "image PROFILE list")
    if done.code:
        raise ClusterError(f"{cache}/{name} cannot be removed: {' '.join(done.err.split())}")
    console.say(f"removed {cache}/{name}")
    return 0


COMMAND = Images()
