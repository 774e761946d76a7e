"""Object stores and web servers: s3://BUCKET/KEY, gs://BUCKET/KEY, https://HOST/PATH, by the library obstore.

Why obstore: each range is asked for on the condition that the object is still the one that was planned (If-Match), so
that no part of another one is ever taken in; it repeats what 5xx, a broken connection or a silent server cost; and it
is one wheel without dependencies, where s3fs needs other versions than AutoModel of urllib3 and wrapt.

What it needs is in the environment: the variables of the AWS and Google tools (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
AWS_REGION, GOOGLE_APPLICATION_CREDENTIALS, ...), the static keys in ~/.aws, or the machine's own role.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from data_prep_lib import aws_files
from data_prep_lib.errors import InputError
from data_prep_lib.store_errors import (
    BrokenOffError,
    changed,
    no_credentials,
    not_installed,
    status_of,
    told,
    unanswered,
)

SCHEMES = ("s3://", "gs://", "https://", "http://")
_NO_CONDITION = ("of ", "W/")  # no tag, or a weak one, which never fulfils If-Match
_STEP = 0.5  # seconds
_BROKEN_OFF = 4  # times that an answer is asked for again
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Seconds: to connect, without a byte, until a request is not repeated any more, between two repetitions at most,
    and that a thread waits for all of its requests together (math.inf: without an end)."""

    connect: int
    silent: int
    repeat: int
    between: int
    whole: float = math.inf


JOB = Patience(connect=10, silent=60, repeat=180, between=10)
LOOK = Patience(connect=10, silent=60, repeat=2, between=1, whole=4)
_patience = JOB
_waited = threading.local()  # `seconds`: of this thread, in a look


def hurry() -> None:
    """For a look before the job: no role is asked for, and what is asked from now on is answered within seconds.

    Each thread has its own, and what it does beside waiting does not count: a store takes nobody else's time.
    """
    global _patience
    _patience, _waited.seconds = LOOK, 0.0
    _store.cache_clear()  # which are patient, if there are any


def is_address(path: str) -> bool:
    return path.startswith(SCHEMES)


def parts(address: str) -> tuple[str, str]:
    """(the bucket, or the web server, with its scheme; the key in it, decoded)."""
    scheme, _, rest = address.partition("://")
    place, _, key = rest.partition("/")
    return f"{scheme}://{place}", unquote(key) if scheme.startswith("http") else key


def endpoint(address: str) -> str:
    """Who is asked, for messages."""
    if address.startswith("s3://"):
        return _setting("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") or "Amazon S3"
    return "Google Cloud Storage" if address.startswith("gs://") else parts(address)[0]


@dataclass(frozen=True)
class Found:
    """An object: its size in bytes and its version, an entity tag, or the time where the server has no such tags."""

    address: str
    size: int
    version: str


def found(address: str, meta: Mapping[str, Any]) -> Found:
    return Found(address, int(meta["size"]), version_of(meta))


def version_of(meta: Mapping[str, Any]) -> str:
    tag = (meta.get("e_tag") or "").replace('"', "")  # lists of some servers leave the quotes out
    return tag or f"of {meta['last_modified'].isoformat()}"


def read_range(address: str, start: int, end: int, version: str = "") -> tuple[bytes, Mapping[str, Any]]:
    """(the bytes [start, end), what the server says of the object).

    Raises:
        InputError: it is not there or not to be had, or is not of this version any more.
        DataPrepError: the store does not answer, or not in full.
    """
    place, key = parts(address)
    options: dict[str, Any] = {"range": (start, end)}
    if version and not version.startswith(_NO_CONDITION):
        options["if_match"] = f'"{version}"'

    def get() -> tuple[bytes, Mapping[str, Any]]:
        try:
            result = store(place).get(key, options=options)
            meta, data = result.meta, result.bytes
        except Exception as e:
            if status_of(e) != "416":  # what is empty has no first byte
                raise
            meta, data = store(place).head(key), bytes
        if version and version_of(meta) != version:  # a server that does not know the condition
            raise changed(address)
        return bytes(data()), meta

    data, meta = asked(address, get)
    if len(data) != max(0, min(end, int(meta["size"])) - start):
        raise told(OSError(f"{len(data)} bytes came of {end - start}"), address, endpoint(address))
    return data, meta


def listed(place: str, prefix: str) -> list[Mapping[str, Any]]:
    """What the store says of every object below a prefix (whole parts of the key)."""
    address = f"{place}/{prefix}"
    return asked(address, lambda: [meta for page in store(place).list(prefix or None) for meta in page])


def asked(address: str, call: Callable[[], T]) -> T:
    """The answer, or an error in words; an answer that broke off is asked for again.

    obstore does that for what is read of an object, and not for lists and errors.
    """
    for _ in range(_BROKEN_OFF):
        with suppress(BrokenOffError):
            return _asked(address, call)
    return _asked(address, call)


def _asked(address: str, call: Callable[[], T]) -> T:
    """In a thread of its own where a signal may come, which is not heard while the library works, or time is short."""
    answers: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as e:
            failures.append(e)

    if threading.current_thread() is threading.main_thread() or _patience.whole < math.inf:
        thread, began = threading.Thread(target=work, daemon=True), time.monotonic()
        before = getattr(_waited, "seconds", 0.0)
        end = began + _patience.whole - before
        thread.start()
        # in short steps: a signal that another thread has taken does not wake this one
        while thread.is_alive() and (left := end - time.monotonic()) > 0:
            thread.join(min(_STEP, left))
        _waited.seconds = before + time.monotonic() - began
        if thread.is_alive():
            raise unanswered(address, endpoint(address), _patience.whole)
    else:
        work()
    if not failures:
        return answers[0]
    if isinstance(failures[0], InputError) or not isinstance(failures[0], Exception):
        raise failures[0]
    raise told(failures[0], address, endpoint(address)) from None


def store(place: str) -> Any:
    """obstore's store of a bucket or web server."""
    return _store(place)


@lru_cache(maxsize=64)
def _store(place: str) -> Any:
    try:
        # whole, first: the next line does not wait for another thread that is in the middle of importing the package
        import obstore  # noqa: F401
        from obstore.store import GCSStore, HTTPStore, S3Store
    except ImportError:
        raise not_installed(place) from None
    scheme, _, name = place.partition("://")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=_patience.connect),
            "read_timeout": timedelta(seconds=_patience.silent),
            # of a whole request, a block: the default of 30 s ends one over a slow line
            "timeout": timedelta(seconds=_patience.silent * 10),
            "allow_http": scheme == "http" or endpoint(place).startswith("http://"),
        },
        "retry_config": {
            "max_retries": 1000,  # the time counts
            "retry_timeout": timedelta(seconds=_patience.repeat),
            "backoff": {
                "init_backoff": timedelta(seconds=0.2),
                "max_backoff": timedelta(seconds=_patience.between),
                "base": 2,
            },
        },
    }
    if scheme == "gs":
        _needs(place, _google_at_hand())
        return GCSStore(name, **options)
    if scheme != "s3":
        return HTTPStore.from_url(place, **options)
    config: dict[str, Any] = {} if _setting("AWS_ACCESS_KEY_ID") else aws_files.settings(os.environ)
    _needs(place, "access_key_id" in config or _aws_at_hand())
    return S3Store(name, config=config, **options)  # type: ignore[arg-type, unused-ignore]


def _needs(place: str, at_hand: bool) -> None:
    """Without credentials only a job asks the machine for its role: elsewhere nobody answers, for a long time."""
    if not at_hand and (_patience is LOOK or _setting("AWS_EC2_METADATA_DISABLED").lower() == "true"):
        raise no_credentials(place)


def _aws_at_hand() -> bool:
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    return bool(_setting(*names, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"))


def _google_at_hand() -> bool:
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")
    default = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
    return bool(_setting(*names, "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SKIP_SIGNATURE")) or default.exists()


def _setting(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
