"""Values of secrets stand in nothing that the agent and its workers write, whatever the executor."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.test_node_agent import MakeJob, eventually, make_job

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes"))
from node_agent_lib import files, redaction

__all__ = ["make_job"]

SECRET = "hf_Ab/1+\"q' é=9zTail"


@pytest.fixture(autouse=True)
def _none_known() -> Iterator[None]:
    redaction._forms.clear()
    yield
    redaction._forms.clear()


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
    ],
)
def test_every_form_of_a_value(form: str) -> None:
    redaction.arm([SECRET])
    hidden = redaction.text(f"before {form} after")
    assert hidden.startswith("before ") and hidden.endswith(" after") and "***" in hidden
    assert "Tail" not in hidden and "Ab" not in hidden


def test_a_key_of_several_lines_is_hidden_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIabcdefghijklmnop\nqrstuvwxyz0123456789==\n-----END KEY-----\n"
    redaction.arm([key])
    assert redaction.text("read MIIabcdefghijklmnop") == "read ***"
    assert "qrst" not in redaction.text(f"x {key} y")


def test_what_names_a_thing_is_left_as_it_is(tmp_path: Path) -> None:
    redaction.arm_environment({"DB_PASSWORD": "pretrain"})
    files.write_json(
        str(tmp_path / "x"), {"job_id": "pretrain.1", "error": "no pretrain", "nodes": [{"host": "pretrain"}]}
    )
    assert json.loads((tmp_path / "x").read_text()) == {
        "job_id": "pretrain.1",
        "error": "no ***",
        "nodes": [{"host": "pretrain"}],
    }


@pytest.mark.parametrize(
    "environ", [{"A_TOKEN": "true"}, {"A_KEY": "1"}, {"HOME_TOKEN": "/tmp"}, {"NAME": "ordinary value"}]
)
def test_ordinary_words_stay(environ: dict[str, str]) -> None:
    redaction.arm_environment(environ)
    assert redaction.text("true 1 /tmp/x ordinary value") == "true 1 /tmp/x ordinary value"


def test_a_password_in_a_url_is_hidden_whoever_has_set_it() -> None:
    assert redaction.text("no answer of https://me:pa55w0rd@host/x") == "no answer of https://me:***@host/x"


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_hides_them_wherever_it_is_cut(seed: int) -> None:
    """And adds, drops and delays nothing else."""
    draw = random.Random(seed)
    secrets = [SECRET, "abcabcabd", "cabdXYZ", "aaaaaaaa"]
    redaction.arm(secrets)
    words = [*secrets, "https://u:topsecret@h/", "a", "abcab", "\n", "plain ", "hf_", "aaaa", "https://host/ "]
    whole = "".join(draw.choices(words, k=200)).encode()
    stream, got, at = redaction.Stream(), b"", 0
    while at < len(whole):
        size = draw.randint(1, 9)
        got += stream.feed(whole[at : at + size])
        at += size
    got += stream.end()
    for secret in (*secrets, "topsecret"):
        assert secret.encode() not in got
    assert got.count(b"plain ") == whole.count(b"plain ")


def test_ordinary_output_is_not_delayed() -> None:
    redaction.arm([SECRET])
    stream = redaction.Stream()
    assert stream.feed(b"step 1\nstep 2") == b"step 1\nstep 2"
    assert stream.feed(b" of h") == b" of "
    assert stream.feed(b"alf") == b"half"
    assert (stream.feed(b'hf_Ab/1+"q'), stream.end()) == (b"", b"***")


FAILS = """
import os, sys
from urllib.parse import quote
token = os.environ[sys.argv[1]]
print("the user's own output", flush=True)
if sys.argv[2] == "raise":
    raise RuntimeError(f"401 for https://hub/?token={quote(token, safe='')}: " + "x" * 440 + token)
sys.exit(f"refused: {token}")
"""


def _holding(job_dir: Path, *secrets: str) -> list[str]:
    """Names of files below that hold one."""
    found = [path for path in job_dir.rglob("*") if path.is_file()]
    return [path.name for path in found if any(secret in path.read_text(errors="replace") for secret in secrets)]


@pytest.mark.parametrize("how", ["raise", "exit"])
@pytest.mark.parametrize(("name", "env"), [("ACME_TOKEN", {}), ("MINE", {"LAUNCH_HIDDEN": "OTHER,MINE"})])
def test_a_token_of_the_inherited_environment(
    make_job: MakeJob, tmp_path: Path, name: str, env: dict[str, str], how: str
) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    job = make_job(str(script), name, how, env=env)
    job.environ[name] = SECRET
    code, said = job.run()
    assert code == 1 and "***" in job.exit["error"]
    assert _holding(job.dir, "Tail", "Ab/1", "Ab%2F1") == []
    assert not [word for word in ("Tail", "Ab/1", "Ab%2F1") if word in said]
    assert "Tail" not in Path(job.spec["run_dir"], "history.jsonl").read_text()
    printed = (job.dir / "logs" / "rank-0.log").read_text()
    assert printed.startswith("the user's own output\n") and "***" in printed


def test_the_report_of_torchrun(make_job: MakeJob, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    job = make_job(str(script), "ACME_TOKEN", "raise", launch="torchrun")
    job.environ["ACME_TOKEN"] = "acme-0123456789-token"
    assert job.run()[0] == 1
    log = (job.dir / "logs" / "agent-0.log").read_text()
    assert "401 for https://hub/" in log and "***" in log, "torchrun's report is there"
    assert _holding(job.dir, "acme-0123456789-token") == []


def test_what_startup_commands_print_and_set(make_job: MakeJob, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    secrets = tmp_path / "secrets.env"
    secrets.write_text("MINE='value of mine'\n")
    lines = [
        "printf '%s' \"${MINE%% *}\"; sleep 0.3; printf ' of mine'; echo",
        "echo $ACME_TOKEN",
        f"export NEW_KEY=$(cat {tmp_path}/key)",
        'false || echo "$NEW_KEY" > /dev/null',
    ]
    (tmp_path / "key").write_text("from-a-file-0123")
    job = make_job(str(script), "NEW_KEY", "raise", secrets_file=str(secrets), startup_commands=lines)
    job.environ["ACME_TOKEN"] = "acme-0123456789-token"
    assert job.run()[0] == 1
    log = (job.dir / "logs" / "agent-0.log").read_text()
    assert log.count("***") >= 2
    assert _holding(job.dir, "value of mine", "acme-0123456789-token", "from-a-file-0123") == []


def test_an_agent_that_is_killed_during_startup_leaves_no_secret(make_job: MakeJob, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("HF_TOKEN=s3cr3t-value-of-it\n")
    private = tmp_path / "tmp"
    private.mkdir()
    job = make_job(
        "shows.py", "x", secrets_file=str(secrets), startup_commands=[f"touch {tmp_path}/there", "sleep 300"]
    )
    job.environ["TMPDIR"] = str(private)
    agent = job.agent()
    eventually((tmp_path / "there").exists, "the startup commands to run")
    assert list(private.iterdir()), "the agent has its private directory there"
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait(LIMIT_S)
    found = [path for path in private.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert found == []


def test_much_output_of_startup_commands_arrives_whole(make_job: MakeJob) -> None:
    job = make_job("ends.py", 0, "7", startup_commands=["seq 1 300000", "sleep 300 > /dev/null &"])
    assert job.run()[0] == 7
    lines = (job.dir / "logs" / "agent-0.log").read_text().splitlines()
    assert [line for line in lines if line.isdigit()] == [str(number) for number in range(1, 300001)]
