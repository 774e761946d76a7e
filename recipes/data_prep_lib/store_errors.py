"""What an object store or a web server answers -> words that say what to do.

Only the status, the error's code and the region of an answer are shown: the rest may hold key ids and signed requests.
"""

from __future__ import annotations

import re

from data_prep_lib.errors import DataPrepError, InputError

_AGAIN = "run the same command again when it answers; finished shards are kept"


class BrokenOffError(DataPrepError):
    """An answer ended in the middle."""


class MissingError(InputError):
    """There is no such object."""


class NotAtHandError(InputError):
    """Credentials, or the library, are not on this machine; the job may have them. `level`: what a look makes of it."""

    level = "note"


class UnansweredError(NotAtHandError):
    """There was no answer in the time that a look has."""

    level = "warning"


def no_credentials(place: str) -> NotAtHandError:
    names = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    public = "AWS_SKIP_SIGNATURE=true for a public bucket"
    if place.startswith("gs://"):
        names, public = "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE=true for a public bucket"
    return NotAtHandError(f"{place}: there are no credentials for it here\n  set {names}, or {public}")


def not_installed(place: str) -> NotAtHandError:
    return NotAtHandError(f"{place}: cannot be read, as the package obstore is not installed\n  pip install obstore")


def unanswered(address: str, endpoint: str, seconds: float) -> UnansweredError:
    return UnansweredError(
        f"{address}: not looked at, as {endpoint} has not answered within the {seconds:g} s that a look takes\n"
        "  the job waits longer; where it does not answer there either, mend the address or the network"
    )


def changed(address: str) -> InputError:
    return InputError(
        f"{address}: it changed while it was read\n"
        "  run again when it is complete; what was made of it is not used then"
    )


def told(e: Exception, address: str, endpoint: str) -> DataPrepError:
    """obstore's error in words: InputError where a repetition changes nothing."""
    text = str(e)
    code = _first(r"<Code>([A-Za-z]+)</Code>", text)
    status = status_of(e)
    bucket = address.split("/", 3)[2]
    if type(e).__name__ == "PreconditionError":
        return changed(address)
    if "Could not parse path" in text:
        return InputError(f"{address}: a key with an empty part, '.' or '..' in it is not read\n  give it another name")
    if code == "NoSuchBucket":
        return InputError(f"{address}: {endpoint} has no bucket {bucket!r}\n  mend the name, or AWS_ENDPOINT_URL")
    region = _first(r"<Region>([\w-]+)</Region>", text) or _first(r"expecting '([\w-]+)'", text)
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException") or (
        status == "301" and address.startswith("s3://")
    ):
        named = f"AWS_REGION={region}" if region else "AWS_REGION to the bucket's region"
        return InputError(f"{address}: the bucket {bucket!r} is in another region than asked\n  set {named}")
    if status == "404":
        return MissingError(f"{address}: it is not there\n  mend the name; s3://BUCKET/PREFIX/ names all below PREFIX")
    if status in ("401", "403") or code in _REFUSED:
        return InputError(_refused(address, endpoint, status, code))
    if "NotPartial" in text or "Range request not supported" in text:
        return InputError(
            f"{address}: {endpoint} does not give parts of a file (ranges)\n  download it, and name the copy"
        )
    if "169.254.169.254" in text or "metadata.google" in text:
        return no_credentials(address)
    if "header" in text.lower() and "content-length" in text.lower():
        return InputError(f"{address}: {endpoint} does not say how long it is\n  download it, and name the copy")
    kind = BrokenOffError if _BROKEN in text else DataPrepError
    return kind(f"{address}: {_reason(text, endpoint, status, code)}\n  {_AGAIN}")


_REFUSED = {
    "ExpiredToken": "the session token has expired; get new credentials",
    "ExpiredTokenException": "the session token has expired; get new credentials",
    "TokenRefreshRequired": "the session token has expired; get new credentials",
    "InvalidToken": "AWS_SESSION_TOKEN does not belong to the key; unset it or get new credentials",
    "InvalidAccessKeyId": "the store does not know AWS_ACCESS_KEY_ID; set the one of this store (AWS_ENDPOINT_URL)",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID; set both",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
}


def _refused(address: str, endpoint: str, status: str, code: str) -> str:
    named = f"{status} {code}".strip()
    fix = _REFUSED.get(code) or "the credentials do not allow it, or it is not there and may not be listed"
    return f"{address}: {endpoint} refuses it ({named or 'no status'})\n  {fix}"


def _reason(text: str, endpoint: str, status: str, code: str) -> str:
    if status:
        return f"{endpoint} answered {f'{status} {code}'.strip()}, again and again"
    for sign, words in _SIGNS.items():
        if sign in text:
            return f"{endpoint} {words}"
    return f"{endpoint}: {text.strip().splitlines()[0][:200] if text.strip() else 'no reason given'}"


_BROKEN = "response body error"
# Of the words of obstore and of what it is made of (Debug of reqwest's and hyper's errors), 0.12.
_SIGNS = {
    "ConnectionRefused": "does not answer: connection refused",
    "dns error": "is not known: its name has no address",
    "ertificate": "has a TLS certificate that is not trusted",
    "kind: Timeout": "does not answer in time",
    "TimedOut": "does not answer in time",
    "bytes came of": "sent less than it said",
    _BROKEN: "broke off in the middle of an answer, again and again",
    "error sending request": "closed the connection",
}


def status_of(e: Exception) -> str:
    """The HTTP status of an answer, "404" also of one without; empty where there was no answer."""
    found = _first(r"(?:status code: |status: )(\d{3})", str(e))
    return found or ("404" if isinstance(e, FileNotFoundError) else "")


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""
