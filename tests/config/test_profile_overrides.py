"""`run.env.KEY=value` where the key takes text: the text as it was typed, whatever YAML would make of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.errors import LaunchError, ProfileError
from tests.workbench import Bench, make_bench, refused

SLURM = """[s]
executor = "slurm"
partition = "p"
container_image = "none"
remote_job_dir = "/tmp/x"
nproc_per_node = 1
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _profile(bench: Bench, *overrides: str) -> Any:
    bench.env(SLURM)
    return bench.plan(*overrides, profile="s").profile


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("comment", '{"a": {"b": "60"}}'), ("comment", "a: b"), ("comment", "fix #12"), ("comment", "yes")),
        *(
            ("comment", "it's 5 o'clock"),
            ("comment", "- x"),
            ("comment", "@ada: [1"),
            ("comment", "&a"),
            ("comment", "#12"),
        ),
        *(("constraint", "[a|b]"), ("constraint", "!a"), ("nodelist", "[n1,n2]"), ("partition", "on")),
        *(("partition", "no"), ("qos", "yes"), ("qos", "1e3"), ("time", "90"), ("time", "04:00:00"), ("mem", "0")),
        *(("account", "123"), ("account", "0100"), ("account", "1_000"), ("account", "0x10"), ("exclusive", "user")),
        *(("setup_lines", "module load x #y"), ("setup_lines", "[ -d /x ] && cd /x"), ("account", "2024-01-01")),
    ],
)
def test_where_a_key_takes_text_the_value_is_what_was_typed(bench: Bench, key: str, text: str) -> None:
    for written in (f"run.env.{key}={text}", f"--run.env.{key}={text}"):
        assert getattr(_profile(bench, written), key) == text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("account='123'", "123"),
        ('account="null"', "null"),
        ("account=null", None),
        ("account=", None),
        ("exclusive=true", True),
        ("nodes=2", 2),
        ("nproc_per_node=2", 2),
        ("gpus_per_node=8", 8),
        ("launcher=ft", "ft"),
        ("container_writable=yes", True),
        ("setup_lines=[a, b]", ("a", "b")),
        ("srun_args=['-v', '--x']", ("-v", "--x")),
        ("env_vars={A: x}", {"A": "x"}),
    ],
)
def test_other_kinds_are_yaml_and_quotes_around_the_whole_too(bench: Bench, override: str, value: Any) -> None:
    key = override.partition("=")[0]
    assert getattr(_profile(bench, f"run.env.{override}"), key) == value


@pytest.mark.parametrize("text", ["fix #12", "#12", "[a", "@x", '{"a": 1}', "010", "yes", "a: b", "null", "1e3"])
def test_a_variable_is_what_was_typed(bench: Bench, text: str) -> None:
    assert dict(_profile(bench, f"run.env.env_vars.A={text}").env_vars) == {"A": text}


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("true", True), ("1e3", "1e3"), ("a #b", "a #b"), ("[a]", "[a]")]
)
def test_an_option_of_sbatch_is_what_was_typed(bench: Bench, text: str, value: Any) -> None:
    found = dict(_profile(bench, f"run.env.additional_parameters.wckey={text}").additional_parameters)["wckey"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["[1", "{a: 1}", "x #y", "1e3"])
def test_a_wrong_number_is_refused_as_the_override_s(bench: Bench, text: str) -> None:
    refused(LaunchError, partial(_profile, bench, f"run.env.nodes={text}"), "nodes (override run.env)", "an integer")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("time = 90", 'time = "90" is in minutes; time = "04:00:00"'),
        ("time = -1", 'time = "04:00:00"'),
        ("mem = 0", 'mem = "0"'),
        ("account = 123", 'account = "123"'),
    ],
)
def test_a_number_in_env_toml_is_answered_with_its_quoted_form(bench: Bench, line: str, hint: str) -> None:
    bench.env(f"{SLURM}{line}\n")
    refused(ProfileError, lambda: bench.plan(profile="s"), "expected a string", hint)
