"""`${oc.env:NAME}`: known here, known only to the job, or set by nothing."""

from __future__ import annotations

import pytest

from automodel_launch.config.envscope import EnvScope, exported


def test_the_jobs_value_wins_over_this_shells() -> None:
    scope = EnvScope({"A": "here", "B": "here"}, job_env={"A": "job"})
    assert (scope.lookup("A"), scope.lookup("B")) == ("job", "here")
    assert scope.kept == scope.missing == set()


def test_defaults() -> None:
    scope = EnvScope({"EMPTY": ""})
    assert [scope.lookup("X", "d"), scope.lookup("X", 5), scope.lookup("X", None), scope.lookup("EMPTY", "d")] == [
        *("d", "5", None, "")
    ]
    assert not scope.missing


def test_what_nothing_sets_is_collected() -> None:
    scope = EnvScope({})
    scope.lookup("X")
    scope.lookup("Y")
    assert scope.missing == {"X", "Y"}


@pytest.mark.parametrize(
    "name", ["SLURM_JOB_ID", "SLURM_NTASKS", "SLURMD_NODENAME", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"]
)
def test_names_of_the_job_keep_their_reference(name: str) -> None:
    scope = EnvScope({name: "another job's"})
    assert scope.lookup(name) == f"${{oc.env:{name}}}"
    assert scope.lookup(name, "d") == f"${{oc.env:{name},d}}"
    assert scope.kept == {name}


@pytest.mark.parametrize("name", ["MY_RANK", "RANKS", "slurm_job_id", "MASTER", "XSLURM_ID"])
def test_names_that_only_look_alike_are_known_here(name: str) -> None:
    assert EnvScope({name: "v"}).lookup(name) == "v"


def test_a_secret_never_leaves() -> None:
    scope = EnvScope({"TOKEN": "hush"}, job_env={"TOKEN": "hush"}, job_only=frozenset({"TOKEN"}))
    assert scope.lookup("TOKEN") == "${oc.env:TOKEN}"


def test_a_kept_reference_writes_null_as_yaml_does() -> None:
    assert EnvScope({}).lookup("RANK", None) == "${oc.env:RANK,null}"


def test_scopes_share_nothing() -> None:
    EnvScope({}).lookup("X")
    assert not EnvScope({}).missing


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("export A=1", {"A"}),
        ("  export A=1 B=2", {"A", "B"}),
        ('export A="x y" B=2', {"A", "B"}),
        ("cd /x && export A=1; export B=2", {"A", "B"}),
        ("if true; then export A=1; fi", {"A"}),
        ("A=1; export A", {"A"}),
        ("echo 'export'\nexport B=$(date)", {"B"}),
        ("# export A=1", set()),
        ("reexport A=1", set()),
        ("source x.sh", set()),
    ],
)
def test_names_that_lines_export(line: str, names: set[str]) -> None:
    assert exported([line]) == names
