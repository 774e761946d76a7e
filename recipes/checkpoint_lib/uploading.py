"""Uploads an exported directory to the Hugging Face hub, with huggingface_hub. The token is never printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import faults, weights
from .stopped import Stopped

_LONGEST = 300
_LOGIN = "export HF_TOKEN, a token that may write; or `hf auth login` where the checkpoints are"


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Upload `folder` to the model repository `repo`, which is made where it is not there; its address.

    `token`: a file with the token, which is removed before anything else is done.

    Raises:
        Stopped: It was not uploaded.
    """
    token = _taken(request.get("token"))
    folder = Path(request["folder"])
    found = weights.find_faults(folder)
    if found:
        raise Stopped(f"{folder} is not whole: {faults.in_short(found)}; nothing was uploaded")
    os.environ.update(request.get("environ") or {})
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise Stopped(
            "huggingface_hub is not installed in the Python that was found", "pip install huggingface_hub, there"
        ) from None
    token = token or get_token()
    if not token:
        raise Stopped("there is no token for the hub", _LOGIN)
    api = HfApi(token=token)
    try:
        _refuse_public(api, request)
        api.create_repo(request["repo"], private=request["private"], exist_ok=True)
        done = api.upload_folder(repo_id=request["repo"], folder_path=folder, commit_message=request["message"])
    except Stopped:
        raise
    except Exception as error:  # httpx's, requests', the hub's own: each version has others
        raise Stopped(f"the hub did not take it: {_said(error, token)}", _fix(error)) from None
    return {
        "url": str(getattr(done, "repo_url", "") or f"{api.endpoint}/{request['repo']}"),
        "private": _is_private(api, request),
    }


def _taken(path: Any) -> str | None:
    if not path:
        return None
    token = Path(path).read_text(encoding="utf-8").strip()
    Path(path).unlink()
    return token


def _refuse_public(api: Any, request: dict[str, Any]) -> None:
    """One that was there before stays what it was: what is pushed to it may be seen by anybody.

    Raises:
        Stopped: It is public, and nobody has said that this is meant.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        known = api.repo_info(request["repo"]).private
    except RepositoryNotFoundError:
        return
    if request["private"] and known is False:
        raise Stopped(f"{request['repo']} is there, and public; nothing was uploaded", "--public, if that is meant")


def _is_private(api: Any, request: dict[str, Any]) -> Any:
    try:
        return api.repo_info(request["repo"]).private
    except Exception:  # it is uploaded; that it cannot be looked at says nothing about that
        return None


def _said(error: Exception, token: str) -> str:
    text = " ".join(str(error).replace(token, "[token]").split())
    return f"{type(error).__name__}: {text[:_LONGEST]}"


def _fix(error: Exception) -> str | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return _LOGIN
    return None if code else "is the hub reachable from there? HF_ENDPOINT names another one; push again goes on"
