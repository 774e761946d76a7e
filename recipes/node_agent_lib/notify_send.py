"""The process that sends: a request on standard input, a line on standard output about each target.

    {"targets": ["mail:me@x", "https://hook", "slack:https://..."], "payload": {...}, "slurm_id": "76"}

A line names a host, never a path or a password: in the URL of a hook they are the secret. All targets are served at the
same time, each within ANSWER_S.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

ANSWER_S = 8.0
_LIFE_S = 30
_SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail")  # seldom on a user's PATH
_SLACKS = "hooks.slack.com"
_TITLES = {
    "finished": "{run} has finished",
    "failed": "{run} has failed and needs somebody",
    "hung": "{run} hangs and is being ended",
    "stopped": "{run} was stopped",
}


def main() -> int:
    """Serve one request; always 0, since nobody waits for more."""
    signal.alarm(_LIFE_S)
    request = json.load(sys.stdin)
    lines: list[str] = []
    threads = [
        threading.Thread(target=lambda target=target: lines.append(_serve(target, request)), daemon=True)
        for target in request["targets"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ANSWER_S + 1.0)
    print("\n".join(lines), flush=True)
    os._exit(0)  # a thread that waits for a name server ends with it


def _serve(target: str, request: dict[str, Any]) -> str:
    try:
        if target.startswith("mail:"):
            return _mail(target[len("mail:") :], request)
        return _post(target, request["payload"])
    except Exception as error:  # whatever a hook answers, the job's end is what it is
        return f"{_name(target)}: {type(error).__name__}{_reason(error)}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return f" ({type(reason).__name__})" if isinstance(reason, Exception) else ""


def _name(target: str) -> str:
    return target if target.startswith("mail:") else urlsplit(target.rpartition("slack:")[2]).hostname or "a hook"


def _post(target: str, payload: dict[str, Any]) -> str:
    url = target[len("slack:") :] if target.startswith("slack:") else target
    if not url.lower().startswith(("http://", "https://")):
        return f"{_name(target)}: not sent, its URL begins neither with https:// nor with http://"
    slack = url != target or urlsplit(url).hostname == _SLACKS
    body = {"text": text(payload)} if slack else payload
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "automodel-launch"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=ANSWER_S) as answer:
            return f"{_name(target)}: told ({answer.status})"
    except urllib.error.HTTPError as error:
        return f"{_name(target)}: it answered {error.code}"


def title(payload: dict[str, Any]) -> str:
    """One line."""
    return _TITLES.get(str(payload.get("event")), "{run}").format(run=payload.get("run") or payload.get("job"))


def text(payload: dict[str, Any]) -> str:
    """The payload for people to read."""
    step, loss = payload.get("step"), payload.get("loss")
    lines = [title(payload), f"{payload.get('job')}: {payload.get('state')}, attempt {payload.get('attempt')}"]
    if step is not None:
        lines.append(f"last step: {step}" + (f", loss {loss:.4g}" if isinstance(loss, (int, float)) else ""))
    names = (("error", "error"), ("cause", "cause"), ("todo", "what to do"), ("why", "why"), ("host", "on"))
    lines += [f"{words}: {payload[key]}" for key, words in names if payload.get(key)]
    return "\n".join([*lines, f"{payload.get('look')}", f"{payload.get('directory')}"])


def _mail(address: str, request: dict[str, Any]) -> str:
    program = shutil.which("sendmail") or next((path for path in _SENDMAIL if os.access(path, os.X_OK)), None)
    if program is None:
        return _slurms_mail(address, str(request.get("slurm_id") or ""))
    message = EmailMessage()
    message["To"], message["Subject"] = address, title(request["payload"]).replace("\n", " ")
    message.set_content(text(request["payload"]))
    done = subprocess.run([program, "-t", "-oi"], input=bytes(message), timeout=ANSWER_S, capture_output=True)
    return f"mail:{address}: " + ("handed to sendmail" if done.returncode == 0 else f"sendmail says {done.returncode}")


def _slurms_mail(address: str, slurm_id: str) -> str:
    """Slurm mails when the Slurm job that is ending has ended: its words, but somebody hears of it."""
    # 812_3 is a task of an array
    if not slurm_id.replace("_", "", 1).isdigit() or shutil.which("scontrol") is None:
        return f"mail:{address}: not sent, there is no sendmail here"
    command = ["scontrol", "update", f"JobId={slurm_id}", f"MailUser={address}", "MailType=END,FAIL,TIME_LIMIT"]
    done = subprocess.run(command, timeout=ANSWER_S, capture_output=True)
    if done.returncode:
        return f"mail:{address}: not sent, there is no sendmail here, and Slurm refuses"
    return f"mail:{address}: Slurm will send it when Slurm job {slurm_id} has ended"
