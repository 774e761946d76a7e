"""The launcher from Python: a plan, its check, a job to its end; off the main thread, several times in one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import automodel_launch as al
from automodel_launch import workspace
from automodel_launch.errors import ConfigError, JobError, PlanRefused, UsageError
from tests.conftest import LIMIT_S, ROOT, Checkout, clean_environ


@pytest.fixture
def here(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setattr(workspace, "PACKAGE", checkout.root / "automodel_launch")
    return checkout


def _off_the_main_thread(act: Any) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(act())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def test_a_job_to_its_end(here: Checkout) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.stdout, Path.cwd()
    plan = al.plan("stub", overrides={"value": "a b", "steps": 3})
    assert al.check(plan) == []
    job = al.submit(plan)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.stdout, Path.cwd()) == before
    assert job.wait(LIMIT_S).state == "COMPLETED"
    assert "value a b" in list(job.logs())
    assert [row["step"] for row in job.metrics()] == [0, 1, 2]
    assert al.job("last").id == job.id == plan.job_id
    assert [one.id for one in al.jobs()] == [job.id]


def test_off_the_main_thread_and_twice_in_one_process(here: Checkout) -> None:
    def one(value: int) -> str:
        return al.submit(al.plan("stub-one", overrides=[f"value={value}"])).wait(LIMIT_S).state

    assert [_off_the_main_thread(lambda v=v: one(v)) for v in (1, 2)] == ["COMPLETED", "COMPLETED"]


def test_two_threads_at_once(here: Checkout) -> None:
    states: list[str] = []

    def one(value: int) -> None:
        states.append(al.submit(al.plan("stub-one", overrides={"value": value})).wait(LIMIT_S).state)

    threads = [threading.Thread(target=one, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["COMPLETED", "COMPLETED"]


def test_a_job_can_be_cancelled_and_a_wait_has_a_limit(here: Checkout) -> None:
    job = al.submit(al.plan("stub", overrides={"steps": 9000, "pause": 0.2}))
    with pytest.raises(TimeoutError, match="has not ended within"):
        job.wait(0.5)
    job.cancel()
    assert job.wait(LIMIT_S).state == "CANCELLED"
    with pytest.raises(JobError):
        job.cancel()


def test_the_environment_is_an_argument(here: Checkout) -> None:
    environ = {**clean_environ(), "ONLY_HERE": "from the argument"}
    environ.pop("LANG", None)
    os.environ["NOT_IN_THE_ARGUMENT"] = "1"
    try:
        plan = al.plan("stub", overrides={"value": "${oc.env:ONLY_HERE}"}, environ=environ)
        assert plan.config["value"] == "from the argument"
        with pytest.raises(ConfigError, match="NOT_IN_THE_ARGUMENT"):
            al.plan("stub", overrides={"value": "${oc.env:NOT_IN_THE_ARGUMENT}"}, environ=environ)
        shown = here.root / "recipes" / "shows.py"
        shown.write_text(
            "# /// script\n# [tool.runspec]\n# name = 'shows'\n# [tool.runspec.config]\n# dir = 'configs/stub'\n# ///\n"
            "import os\nprint(os.environ.get('ONLY_HERE'), os.environ.get('NOT_IN_THE_ARGUMENT'), flush=True)\n"
        )
        job = al.submit(al.plan("shows", environ=environ), environ=environ)
        assert job.wait(LIMIT_S).state == "COMPLETED"
        assert list(job.logs()) == ["from the argument None"]
    finally:
        del os.environ["NOT_IN_THE_ARGUMENT"]


def test_what_a_check_refuses_is_not_submitted(here: Checkout) -> None:
    plan = al.plan("stub", overrides=["run.env.env=[NOT_SET_ANYWHERE]"])
    with pytest.raises(PlanRefused, match="NOT_SET_ANYWHERE"):
        al.submit(plan)
    assert not Path(plan.job_dir).exists()


def test_the_names_of_wings_and_functions(tmp_path: Path) -> None:
    """automodel_launch.plan is a package and a function, whichever is used first."""
    for first in ("al.plan", "import automodel_launch.plan.naming", "from automodel_launch.plan.plan import Plan"):
        program = f"import automodel_launch as al\n{first}\nfrom automodel_launch.plan import naming\n"
        program += "print(al.plan('pretrain', config='tiny').recipe.name, callable(al.jobs), naming.run_of('a.1'))"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, env=clean_environ()
        )
        assert done.stdout == "pretrain True a\n", done.stderr


def test_importing_it_costs_nothing() -> None:
    program = "import sys, automodel_launch\nprint(*sorted(m for m in sys.modules if m.startswith('automodel_launch')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "automodel_launch\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"recipe": None}, "expected a string or a path"),
        ({"recipe": "stub", "config": 3}, "expected a string or a path"),
        ({"recipe": "stub", "profile": None}, "expected a string or a path"),
        ({"recipe": "stub", "name": 3}, "expected a string or a path"),
        ({"recipe": "stub", "mode": "bath"}, 'expected "run" or "batch"'),
        ({"recipe": "stub", "overrides": "steps=3"}, "is one string"),
        ({"recipe": "stub", "overrides": {1: 2}}, "expected a string or a path"),
        ({"recipe": "stub", "overrides": [("steps", 3)]}, "expected a string or a path"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused_in_words(here: Checkout, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        al.plan(**arguments)
    with pytest.raises(UsageError, match="is not a plan"):
        al.submit(None)  # type: ignore[arg-type]  # that is what is tried


def test_a_path_is_a_recipe_and_a_mapping_can_add_and_remove(here: Checkout) -> None:
    plan = al.plan(here.root / "recipes" / "stub.py", overrides={"+more.key": (1, 2), "~value": None, "steps": 3})
    assert (plan.config["more"], plan.config["steps"], "value" in plan.config) == ({"key": [1, 2]}, 3, False)
    assert "plan" in dir(al) and "Job" in dir(al)


def test_a_pipeline_with_a_sweep(here: Checkout) -> None:
    """Planned, checked, run to its end here; as a sweep by itself its points are plans, of which each is submitted."""
    (here.root / "two.yaml").write_text(
        "steps:\n  rates: {recipe: stub-one, sweep: {grid: {value: [1, 2]}}}\n"
        '  last: {recipe: stub-one, overrides: {value: "${steps.rates.best.run_dir}"}}\n'
    )
    planned = al.pipeline(here.root / "two.yaml", mode="run")
    assert [step.name for step in planned.graph.steps] == ["rates", "last"]
    assert {finding.level for found in planned.check().values() for finding in found} == {"note"}
    jobs = planned.submit()
    assert [job.status().state for job in [*jobs["rates"], *jobs["last"]]] == ["COMPLETED"] * 3
    swept = al.sweep("stub-one", {"grid": {"value": [1, 2]}}, at_most=1)
    assert [job and job.id for job in swept.jobs()] == [job.id for job in jobs["rates"]]
    assert swept.check() == [] and swept.plans.at_most == 1
    with pytest.raises(UsageError, match="takes one job at a time"):
        swept.submit()
    with pytest.raises(UsageError, match="nobody who starts"):
        al.pipeline(here.root / "two.yaml", overrides=["rates.steps=3"]).submit()
