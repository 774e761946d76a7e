"""No submission is lost: launchers killed, interrupted, without an answer or without room, and many at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_truth import LOST, fake, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

WORK = ("steps=9000", "pause=0.2")
TEST_ONLY = 'case "$*" in *--test-only* | --help) exec "$REAL" "$@";; esac\n'
HELD = 'for _ in $(seq 2400); do [ ! -e "$0.go" ] || break; sleep 0.1; done; '  # until the test lets it go on
SLOW_AFTER = TEST_ONLY + f'"$REAL" "$@"; code=$?; touch "$0.done"; {HELD}exit $code'
SLOW_BEFORE = TEST_ONLY + f'touch "$0.begun"; {HELD}exec "$REAL" "$@"'
REFUSES_LATE = TEST_ONLY + f'touch "$0.begun"; {HELD}echo "sbatch: error: invalid account" >&2; exit 1'


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """A login node, and a secret that every job gets."""
    cluster.empty()
    site = make_site(tmp_path, cluster.env, 'secrets = ["A_TOKEN"]')
    site.environ["A_TOKEN"] = "abcdefgh"
    yield site
    heal(cluster)


def _reached(site: Checkout, name: str) -> None:
    path = site.root.parent / "bin" / name
    wait_until(path.exists, 120, str(path))


def let_go(site: Checkout) -> None:
    """Let an sbatch that is held go on."""
    (site.root.parent / "bin" / "sbatch.go").touch()


def _queued(cluster: Cluster) -> list[str]:
    return cluster.check("squeue", "-h", "-o", "%i").split()


def _secrets(site: Checkout) -> list[Path]:
    return list((site.root.parent / "jobs").rglob("secrets.env"))


def _found(site: Checkout, cluster: Cluster) -> dict[str, Any]:
    """The one job in the queue is the one that `jobs` and `status` know."""
    (slurm_id,) = _queued(cluster)
    (row,) = site.json("jobs")
    assert (row["handle"]["slurm_id"], row["launcher"]) == (slurm_id, None)
    assert row["state"] in ("PENDING", "RUNNING")
    assert site.json("status", slurm_id)["job_id"] == row["job_id"]
    found: dict[str, Any] = row
    return found


def test_a_launcher_killed_behind_sbatch(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", SLOW_AFTER)
    launcher = site.start("stub-one", "--batch", "one", *WORK, start_new_session=True)
    _reached(site, "sbatch.done")
    launcher.kill()
    launcher.wait()
    let_go(site)
    row = _found(site, cluster)
    assert site.run("cancel", row["job_id"]).returncode == 0
    wait_until(lambda: not _queued(cluster), 120, "an empty queue")
    site.json("jobs")  # one that had not begun to run has nobody else to remove it
    assert _secrets(site) == []


def test_a_launcher_killed_before_sbatch_has_come_to_it(site: Checkout, cluster: Cluster) -> None:
    """While sbatch works on nobody says that the job was not submitted."""
    fake(site, "sbatch", SLOW_BEFORE)
    launcher = site.start("stub-one", "--batch", "one", *WORK, start_new_session=True)
    _reached(site, "sbatch.begun")
    launcher.kill()
    launcher.wait()
    states = [site.json("jobs")[0]["state"]]
    refused = site.run("stub-one", "--batch", "one", *WORK)
    assert (refused.returncode, "one job at a time" in refused.stderr) == (3, True), refused.stderr
    let_go(site)
    wait_until(lambda: _queued(cluster), LIMIT_S, "the job in the queue")
    row = _found(site, cluster)
    assert set(states) <= {"SUBMITTING", "PENDING", "RUNNING"}
    assert _secrets(site) or cluster.state(int(row["handle"]["slurm_id"])) == "RUNNING"


def test_a_launcher_killed_before_sbatch_refuses(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", REFUSES_LATE)
    launcher = site.start("stub-one", "--batch", "one", *WORK, start_new_session=True)
    _reached(site, "sbatch.begun")
    launcher.kill()
    launcher.wait()
    let_go(site)
    wait_until(lambda: site.json("jobs")[0]["state"] == "NOT_SUBMITTED", LIMIT_S, "NOT_SUBMITTED")
    assert _secrets(site) == []
    said = site.run("status", "last").stdout
    assert "NOT_SUBMITTED" in said and "launch it again" in said
    for verb in ("attach", "resume"):
        done = site.run(verb, "last")
        assert (done.returncode, "never submitted" in done.stderr) == (2, True)
    (site.root.parent / "bin" / "sbatch").unlink()
    again = site.json("stub-one", "--batch", "one", *WORK)  # its claim holds nothing up
    assert again["run_name"] == site.json("jobs")[0]["run_name"]
    assert _queued(cluster) == [again["handle"]["slurm_id"]]


@pytest.mark.parametrize("mode", ["--run", "--batch"])
def test_one_ctrl_c_while_it_starts(site: Checkout, cluster: Cluster, mode: str) -> None:
    fake(site, "sbatch", SLOW_AFTER)
    launcher = site.start("stub-one", mode, "one", *WORK, start_new_session=True)
    _reached(site, "sbatch.done")
    launcher.send_signal(signal.SIGINT)
    let_go(site)
    _, said = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 130, said
    assert "Traceback" not in said
    _found(site, cluster)


def test_an_answer_lost_while_squeue_fails(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", TEST_ONLY + f'"$REAL" "$@"; touch "$0.done"; echo "{LOST}" >&2; exit 1')
    fake(site, "squeue", f'[ ! -e "{site.root.parent}/down" ] || {{ echo "{LOST}" >&2; exit 1; }}; exec "$REAL" "$@"')
    (site.root.parent / "down").touch()
    held = "run.env.additional_parameters={hold: true}"  # else a job that has begun tells by its own files
    launcher = site.start("stub-one", "--batch", "one", *WORK, held, start_new_session=True)
    _reached(site, "sbatch.done")
    launcher.kill()  # as after its 80 s of looking
    launcher.wait()
    done = site.run("status", "last")
    assert (done.returncode, "does not answer" in done.stderr) == (4, True), done.stderr
    (site.root.parent / "down").unlink()
    _found(site, cluster)


def test_resume_is_no_way_to_lose_a_job_either(site: Checkout, cluster: Cluster) -> None:
    first = site.json("stub-one", "--batch", "one", *WORK)
    assert site.run("cancel", first["job_id"]).returncode == 0
    fake(site, "sbatch", SLOW_AFTER)
    launcher = site.start("resume", first["job_id"], start_new_session=True)
    _reached(site, "sbatch.done")
    assert site.json("status", "last")["state"] in ("RESUMING", "PENDING", "RUNNING")
    launcher.kill()
    launcher.wait()
    let_go(site)
    wait_until(lambda: site.json("jobs")[0]["state"] in ("PENDING", "RUNNING"), LIMIT_S, "the job is known again")
    row = _found(site, cluster)
    assert row["handle"]["slurm_id"] != first["handle"]["slurm_id"]
    assert site.run("cancel", row["job_id"]).returncode == 0


def test_a_resumed_job_that_was_left_on_hold_is_let_go(site: Checkout, cluster: Cluster) -> None:
    """The machine of the submitter dies when Slurm has the job, which waits until the job's directory names it."""
    first = site.json("stub-one", "--batch", "one", *WORK)
    assert site.run("cancel", first["job_id"]).returncode == 0
    fake(site, "sbatch", TEST_ONLY + '"$REAL" "$@"; touch "$0.done"; sleep 2; kill -KILL 0')
    launcher = site.start("resume", first["job_id"], start_new_session=True)
    _reached(site, "sbatch.done")
    launcher.kill()
    launcher.wait()
    time.sleep(3)
    assert cluster.check("squeue", "-h", "-o", "%r").split() == ["JobHeldUser"]
    wait_until(lambda: site.json("jobs")[0]["state"] == "RUNNING", LIMIT_S, "the job runs")
    row = _found(site, cluster)
    assert Path(row["job_dir"], "resume").read_text().strip() == row["handle"]["slurm_id"]
    assert site.run("cancel", row["job_id"]).returncode == 0


def test_a_resume_that_came_to_nothing_leaves_the_job_as_it_was(site: Checkout, cluster: Cluster) -> None:
    first = site.json("stub-one", "--batch", "one", *WORK)
    assert site.run("cancel", first["job_id"]).returncode == 0
    before = site.json("status", "last")
    fake(site, "sbatch", REFUSES_LATE)
    let_go(site)
    refused = site.run("resume", first["job_id"])
    assert (refused.returncode, "invalid account" in refused.stderr) == (4, True), refused.stderr
    for name in ("sbatch.begun", "sbatch.go"):
        (site.root.parent / "bin" / name).unlink()
    launcher = site.start("resume", first["job_id"], start_new_session=True)
    _reached(site, "sbatch.begun")
    launcher.kill()
    launcher.wait()
    let_go(site)
    wait_until(lambda: site.json("jobs")[0]["state"] == "CANCELLED", LIMIT_S, "its former end")
    after = site.json("status", "last")
    assert {key: after[key] for key in ("state", "handle", "launcher")} == {
        key: before[key] for key in ("state", "handle", "launcher")
    }
    assert _secrets(site) == []


def test_a_users_defaults_for_slurms_commands_lose_no_job(site: Checkout, cluster: Cluster) -> None:
    """SQUEUE_PARTITION hides a job that was submitted, SBATCH_TIMELIMIT and SCANCEL_PARTITION act on it."""
    names = ("SBATCH_PARTITION", "SQUEUE_PARTITION", "SQUEUE_NAMES", "SCANCEL_PARTITION", "SCANCEL_NAME")
    site.environ.update(dict.fromkeys(names, "none"))
    fake(site, "sbatch", TEST_ONLY + f'"$REAL" "$@"; echo "{LOST}" >&2; exit 1')
    first = site.json("stub-one", "--batch", "one", *WORK)
    assert _queued(cluster) == [first["handle"]["slurm_id"]]
    assert site.run("cancel", first["job_id"]).returncode == 0
    wait_until(lambda: not _queued(cluster), 120, "an empty queue")
    assert site.run("resume", first["job_id"]).returncode == 0
    assert site.run("cancel", _found(site, cluster)["job_id"]).returncode == 0


@contextmanager
def _small_disk(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def test_no_room_for_the_record(site: Checkout, cluster: Cluster) -> None:
    """Before it is submitted: nothing is. Afterwards: nothing is lost."""
    folder = site.root / ".launch" / "jobs"
    folder.mkdir(parents=True)
    fill = f'dd if=/dev/zero of="{folder}/somebody-elses" bs=1k 2>/dev/null\n'
    with _small_disk(folder):
        fake(site, "sbatch", f'{TEST_ONLY}"$REAL" "$@"; code=$?; {fill}exit $code')
        record = site.json("stub-one", "--batch", "one", *WORK)
        assert list(folder.glob("*.tmp")) == []
        (row,) = site.json("jobs")  # the disk is full still
        assert row["handle"]["slurm_id"] == record["handle"]["slurm_id"]
        refused = site.run("stub-one", "--batch", "one", "value=2", *WORK)
        assert refused.returncode == 4
        errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and str(folder) in errors[0] and "No space left" in errors[0]
        assert "Traceback" not in refused.stderr
        assert list(folder.glob("*.tmp")) == []
        assert _queued(cluster) == [record["handle"]["slurm_id"]]
        assert len(list((site.root.parent / "jobs").glob("*.1"))) == 1
        (folder / "somebody-elses").unlink()
        assert site.json("stub-one", "--batch", "one", "value=2", *WORK)["job_id"].endswith(".1")
        assert site.run("cancel", record["job_id"]).returncode == 0


def test_four_launches_at_the_same_instant_are_one_job(site: Checkout, cluster: Cluster) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: site.run("stub-one", "--batch", "one", "--json", *WORK), range(4)))
    assert sorted(one.returncode for one in done) == [0, 3, 3, 3], [one.stderr for one in done]
    (winner,) = (json.loads(one.stdout) for one in done if one.returncode == 0)
    for one in done:
        assert one.returncode == 0 or winner["job_id"] in one.stderr
    assert _queued(cluster) == [winner["handle"]["slurm_id"]]
    assert [row["job_id"] for row in site.json("jobs")] == [winner["job_id"]]
    shown = site.run("stub-one", "--batch", "one", "--dry-run", *WORK)
    assert (shown.returncode, "run-active" in shown.stdout, winner["job_id"] in shown.stdout) == (3, True, True)
    offline = site.run("stub-one", "--batch", "one", "--dry-run", "--offline", *WORK)
    assert (offline.returncode, "run-active" in offline.stdout) == (0, False)
    forced = site.run("stub-one", "--batch", "one", "--force", *WORK)
    assert (forced.returncode, "--fresh" in forced.stderr) == (3, True)
    elsewhere = _other_checkout(site)
    refused = elsewhere.run("stub-one", "--batch", "one", *WORK)
    assert (refused.returncode, winner["job_id"] in refused.stderr) == (3, True), refused.stderr
    assert site.run("stub-one", "--batch", "one", "--fresh", *WORK).returncode == 0
    assert site.run("cancel", winner["job_id"]).returncode == 0
    after = elsewhere.json("stub-one", "--batch", "one", *WORK)  # from where nobody has a record of the first one
    assert after["run_name"] == winner["run_name"]
    resumed = site.run("resume", winner["job_id"])
    assert (resumed.returncode, after["job_id"] in resumed.stderr) == (3, True), resumed.stderr
    assert elsewhere.run("cancel", after["job_id"]).returncode == 0
    assert site.run("resume", winner["job_id"]).returncode == 0


def _other_checkout(site: Checkout) -> Checkout:
    """Another person's, with the same job root."""
    root = Path(tempfile.mkdtemp(dir=site.root.parent)) / "checkout"
    shutil.copytree(site.root, root, ignore=shutil.ignore_patterns(".launch"))
    return Checkout(root, dict(site.environ))


def test_a_refused_submission_leaves_no_trace_of_its_settings(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", TEST_ONLY + 'echo "sbatch: error: invalid account" >&2; exit 1')
    assert site.run("stub-one", "--batch", "one", "--name", "mine", *WORK).returncode == 4
    (site.root.parent / "bin" / "sbatch").unlink()
    plan = site.json("stub-one", "--batch", "one", "--name", "mine", "value=9", "--dry-run", *WORK)
    assert "run-differs" not in [finding["code"] for finding in plan["findings"]]
    assert site.run("stub-one", "--batch", "one", "--name", "mine", "value=9", *WORK).returncode == 0
    begun = json.loads((site.root.parent / "jobs" / "mine" / "run.json").read_text())
    assert begun["trained"]["value"] == 9


def test_a_script_that_is_submitted_from_a_copy_does_nothing(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one")
    assert site.run("attach", "last").returncode == 0
    job = Path(record["job_dir"])
    cluster.wait_for(int(record["handle"]["slurm_id"]))  # its batch script has written its last word
    copy = job.parent / "a-copy"
    shutil.copytree(job, copy)
    before = (job / "exit.json").read_bytes(), (job / "events.jsonl").read_bytes(), (job / "metrics.jsonl").read_bytes()
    slurm_id = int(cluster.check("sbatch", "--parsable", str(copy / "script")).split(";")[0])
    assert cluster.wait_for(slurm_id) == "FAILED"
    assert cluster.job(slurm_id)["ExitCode"] == "2:0"
    by_hand = cluster.run("bash", str(copy / "script"))
    assert (by_hand.returncode, "is a copy of" in by_hand.stderr) == (2, True)
    time.sleep(0.5)
    after = (job / "exit.json").read_bytes(), (job / "events.jsonl").read_bytes(), (job / "metrics.jsonl").read_bytes()
    assert after == before
