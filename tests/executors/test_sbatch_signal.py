"""`signal`: what Slurm may send before the time limit, and to whom."""

from __future__ import annotations

import pytest

from automodel_launch.errors import ProfileError
from tests.workbench import Bench, refused

PROFILE = """
[c]
executor = "slurm"
gpus_per_node = 1
container_image = "none"
remote_job_dir = "/shared/jobs"
"""


@pytest.mark.parametrize(
    ("written", "submitted"),
    [
        ("B:USR1@100", "USR1@100"),
        ("USR1@100", "USR1@100"),
        ("SIGUSR1@100", "SIGUSR1@100"),
        ("B:10@60", "10@60"),
        ("USR1", "USR1"),
        ("R:USR1@60", "R:USR1@60"),
        ("RB:USR1@60", "R:USR1@60"),
    ],
)
def test_it_goes_to_the_agents_and_never_to_the_batch_shell(bench: Bench, written: str, submitted: str) -> None:
    """The shell waits for srun, and dies of it: the job would end so much earlier, without a save."""
    bench.env(f'{PROFILE}signal = "{written}"\n')
    assert f"#SBATCH --signal={submitted}\n" in bench.plan(profile="c", environ={}).script


@pytest.mark.parametrize("written", ["B:TERM@100", "USR2@100", "KILL", "B:12@60", "nonsense@@", "B:"])
def test_another_signal_is_refused_with_the_right_one(bench: Bench, written: str) -> None:
    bench.env(f'{PROFILE}signal = "{written}"\n')
    refused(ProfileError, lambda: bench.plan(profile="c", environ={}), written, "USR1", "or none")


@pytest.mark.parametrize(
    ("written", "right"),
    [("USR1@5m", "USR1@300"), ("B:USR1@1h", "B:USR1@3600"), ("USR1@70000", "USR1@120"), ("USR1@", "")],
)
def test_a_time_that_is_no_number_of_seconds_is_refused_with_one(bench: Bench, written: str, right: str) -> None:
    bench.env(f'{PROFILE}signal = "{written}"\n')
    refused(ProfileError, lambda: bench.plan(profile="c", environ={}), written, right)


def test_without_one_nothing_is_sent(bench: Bench) -> None:
    bench.env(PROFILE)
    assert "--signal" not in bench.plan(profile="c", environ={}).script
