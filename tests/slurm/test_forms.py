"""What the launcher takes for a valid or an invalid value of an option, a real sbatch does, too."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from automodel_launch.profile import sbatch_options
from automodel_launch.remote import slurm_site
from tests.conftest import LIMIT_S
from tests.executors.forms_tables import INVALID, TOLD_BY_THE_CONTROLLER, VALID
from tests.slurm.cluster import Cluster


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """sbatch reads its options before it asks anybody, and stops at --usage."""
    path = tmp_path / "slurm.conf"
    path.write_text("ClusterName=x\nSlurmctldHost=localhost\nNodeName=localhost\nPartitionName=p Nodes=localhost\n")
    return path


def _said(conf: Path, *words: str) -> str:
    done = subprocess.run(
        ["sbatch", *words], env={"SLURM_CONF": str(conf)}, capture_output=True, text=True, timeout=LIMIT_S
    )
    return done.stdout + done.stderr


def test_sbatch_takes_what_is_valid(conf: Path) -> None:
    for option, values in VALID.items():
        for value in values:
            assert _said(conf, f"--{option}={value}", "--usage").startswith("Usage: sbatch"), (option, value)


def test_sbatch_refuses_what_is_not(conf: Path) -> None:
    for option, value, _ in INVALID:
        if option not in TOLD_BY_THE_CONTROLLER:
            assert "nvalid" in _said(conf, f"--{option}={value}", "--usage"), (option, value)


def test_every_option_of_this_sbatch_is_known_with_its_kind(conf: Path) -> None:
    text = subprocess.run(["sbatch", "--help"], env={"SLURM_CONF": str(conf)}, capture_output=True, text=True).stdout
    listed = {word.strip(",").partition("=")[0].partition("[")[0][2:] for word in text.split() if word.startswith("--")}
    assert len(listed) > 80
    assert sorted(name for name in listed - {""} if name not in sbatch_options.KNOWN) == []
    for name in sbatch_options.FLAGS & listed - {"help", "usage", "version"}:
        assert "doesn't allow an argument" in _said(conf, f"--{name}=1", "--usage"), name
    for name in sbatch_options.VALUED & listed:
        assert "requires an argument" in _said(conf, f"--{name}"), name


def test_the_clusters_own_options_are_read(cluster: Cluster) -> None:
    there = slurm_site.options(cluster.check("bash", "-c", slurm_site.OPTIONS))
    assert {"mail-type", "mem-per-gpu", "gpus-per-node", "no-requeue", "wait"} <= there


def test_slurmctld_refuses_what_is_no_dependency_and_no_list_of_nodes(cluster: Cluster) -> None:
    for option, value, _ in INVALID:
        if option in ("dependency", "nodelist", "exclude", "gres", "partition", "constraint"):
            script = "#!/bin/bash\nhostname\n"
            words = [
                "sbatch",
                "--test-only",
                f"--{option}={value}",
                *([] if option == "partition" else ["-p", "batch"]),
            ]
            done = subprocess.run(
                words, input=script, env=_environ(cluster), capture_output=True, text=True, timeout=LIMIT_S
            )
            assert done.returncode, (option, value, done.stderr)
    # Ids that this cluster has never given: a job that is there and has failed can't be waited for.
    unknown = (re.sub(r"(?<!\+)\b\d+", lambda known: f"6{int(known[0]):07d}", value) for value in VALID["dependency"])
    for value in unknown:
        words = ["sbatch", "--test-only", "-p", "batch", f"--dependency={value}"]
        done = subprocess.run(words, input="#!/bin/bash\n:\n", env=_environ(cluster), capture_output=True, text=True)
        assert done.returncode == 0, (value, done.stderr)


def _environ(cluster: Cluster) -> dict[str, str]:
    return {**cluster.env, "PATH": "/usr/bin:/bin"}
