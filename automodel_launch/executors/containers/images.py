"""A container image as a profile names it, and the form in which each program that runs containers takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from automodel_launch.errors import ProfileError

NO_IMAGE = "none"
PREFIX = "docker://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@#+%-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|(?!sha256:)[a-z0-9]+([.+_-][a-z0-9]+)*:[0-9a-fA-F]+")
_FILE = re.compile(r"\.(sqsh|squashfs|sif)$", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VARIABLE = re.compile(r"(~|\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\})(?=/|$)")


def wanted(written: str | None) -> str | None:
    """The image to use; "none" is how a profile says that jobs run on the machine as it is."""
    return None if written in (None, NO_IMAGE) else written


def is_path(text: str) -> bool:
    """It names a file or directory: an absolute path, or one below `~` or `$NAME`."""
    return text.startswith("/") or bool(_VARIABLE.match(text))


@dataclass(frozen=True)
class Image:
    """A file of an image (`path`: .sqsh, .sif, or an image's unpacked directory), or a name in a registry.

    `registry` is None for Docker Hub; `name` is what follows it, with its tag or digest: `nvidia/nemo-automodel:26.04`.
    """

    path: str | None = None
    registry: str | None = None
    name: str = ""

    @property
    def for_pyxis(self) -> str:
        """pyxis hands it to enroot, for which a registry's address ends with `#`, not with a slash."""
        return self.path or (f"{self.registry}#{self.name}" if self.registry else self.name)

    @property
    def for_docker(self) -> str:
        """As `docker run` takes it."""
        return self.path or (f"{self.registry}/{self.name}" if self.registry else self.name)

    @property
    def for_apptainer(self) -> str:
        """As `apptainer exec` takes it."""
        return self.path or f"{PREFIX}{self.for_docker}"

    @property
    def cache_name(self) -> str:
        """Name of its file in an image cache: registry, name and tag or digest, `+` for other marks."""
        return re.sub(r"[/:@#]+", "+", self.for_docker if self.tagged else f"{self.for_docker}:latest") + ".sqsh"

    @property
    def tagged(self) -> bool:
        """The name has a tag or a digest."""
        return bool(re.search(r"[:@][^/]*$", self.name))

    @property
    def digest(self) -> str | None:
        """The digest, where the name has one."""
        return self.name.partition("@")[2] or None


def read(written: str, source: str) -> Image:
    """The image behind `container_image`; `source` tells where it was set.

    Raises:
        ProfileError: it is neither an absolute path nor a registry's name.
    """
    where = f"container_image = {written!r} ({source})"
    if not written.isprintable() or written != written.strip():
        raise ProfileError(f"{where}: no image's name has blanks at an end, line breaks or control characters.")
    text = written.removeprefix(PREFIX)
    _refuse_variable(where, text)
    if is_path(text):
        return Image(path=text)
    _refuse_misnamed(where, text)
    if not _NAME.fullmatch(text) or text.count("#") > 1:
        raise ProfileError(
            f"{where} is neither an absolute path nor an image's name in a registry.",
            'as "nvcr.io/nvidia/nemo-automodel:26.04", "nvcr.io#nvidia/nemo-automodel:26.04" or "/shared/nemo.sqsh"',
        )
    registry, found, name = text.partition("#")
    if not found:
        registry, _, name = text.partition("/")
        if not name or not (set(registry) & {".", ":"} or registry == "localhost"):  # Docker's own rule
            registry, name = "", text
    _refuse_misspelt(where, registry, name)
    return Image(registry=registry or None, name=name)


def _refuse_variable(where: str, text: str) -> None:
    """Only at a path's start is a variable put in; elsewhere it would be a part of the name."""
    start = _VARIABLE.match(text)
    found = re.search(r"\$\{?(\w+)\}?", text[start.end() :] if start else text)
    if found:
        right = text.replace(found[0], f"${{oc.env:{found[1]}}}")
        message = f"{where}: ${found[1]} is put in at the start of a path only."
        raise ProfileError(message, f'"{right}": the value that this shell has')


def _refuse_misnamed(where: str, text: str) -> None:
    """Another scheme, or a file whose directory is not said."""
    scheme = _SCHEME.match(text)
    if scheme:
        rest = text[scheme.end() :]
        web = f'container_image = "{rest}"' if scheme[1].lower() in ("http", "https", "docker") else None
        raise ProfileError(f"{where}: an image's name has no {scheme[0]} before it.", web or f"{PREFIX}NAME, or a path")
    if _FILE.search(text):
        fix = f'container_image = "/shared/images/{text.rpartition("/")[2]}"; it may begin with ~ or $NAME'
        raise ProfileError(f"{where}: a file's path is absolute, as the cluster sees it.", fix)


def _refuse_misspelt(where: str, registry: str, name: str) -> None:
    """Registries know small letters only, tags and digests aside; and no empty part."""
    mark = re.search(r"[:@]", name)
    repository, rest = (name[: mark.start()], name[mark.start() :]) if mark else (name, "")
    right = (f"{registry}/" if registry else "") + repository.lower() + rest
    if repository != repository.lower():
        raise ProfileError(f"{where}: registries take small letters before the tag.", f'container_image = "{right}"')
    tag, _, digest = rest.partition("@")
    if "" in repository.split("/") or tag == ":" or (rest.endswith("@") and not digest) or tag.count(":") > 1:
        raise ProfileError(f"{where}: a part of the name is missing, or one is too much.", "as registry/name:tag")
    if digest and not _DIGEST.fullmatch(digest):
        fix = f'container_image = "{right.partition("@")[0]}", or with a whole digest: NAME@sha256:HEX'
        raise ProfileError(f"{where}: {digest!r} is no digest: the hash, a colon, its hexadecimal digits.", fix)
