"""The closed schema of env.toml: every wrong key and value is answered with file, table, key and what is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from automodel_launch.errors import ProfileError
from automodel_launch.executors import agent
from automodel_launch.profile import keys, profiles, schema, validation
from automodel_launch.profile.schema import Profile
from automodel_launch.profile.validation import validate
from tests.workbench import refused


def _refused(folder: Path, line: str, *words: str) -> str:
    path = folder / "env.toml"
    path.write_text(f'[big]\nexecutor = "slurm"\n{line}\n', encoding="utf-8")
    return refused(ProfileError, lambda: profiles.load(path), str(path), "[big]", *words)


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("nodse = 1", "nodes"),
        ('acount = "a"', "account"),
        ("gpus-per-node = 8", "gpus_per_node"),
        ("GPUsPerNode = 8", "gpus_per_node"),
        ('container_imge = "x"', "container_image"),
        ("ntask_per_node = 8", "ntasks_per_node"),
        ('extend = "local"', "extends"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path, line: str, nearest: str) -> None:
    _refused(tmp_path, line, line.split(" ")[0], "unknown key", nearest)


def test_a_key_like_no_other_is_answered_with_all(tmp_path: Path) -> None:
    text = _refused(tmp_path, "zzzzzz = 1", "zzzzzz", "unknown key")
    assert all(key in text for key in schema.KEYS)


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ('nodes = "two"', "nodes", "an integer"),
        ("nodes = 0", "nodes", "at least 1"),
        ("nodes = -1", "nodes", "at least 1"),
        ("nodes = 1.0", "nodes", "an integer"),
        ("nodes = true", "nodes", "an integer"),
        ('nproc_per_node = "all"', "nproc_per_node", "auto"),
        ("nproc_per_node = 0", "nproc_per_node", "auto"),
        ('ntasks_per_node = "all"', "ntasks_per_node", "an integer"),
        ("container = 5", "container", "string"),
        ('account = ""', "account", "not empty"),
        ("account = 5", "account", "string"),
        ("time = 04:00:00", "time", "string"),
        ("time = 14400", "time", "string"),
        ("rdzv_port = 70000", "rdzv_port", "65535"),
        ('mounts = "/a:/b"', "mounts", "list"),
        ("mounts = [1]", "mounts: entry 1", "string"),
        ('tunnel = "sssh"', "tunnel", "ssh"),
        ('stall = "15 min"', "stall", '"15m"'),
        ('stall = "0s"', "stall", '"15m"'),
        ("stall = 900", "stall", "string"),
        ('packager = "tar"', "packager", "git"),
        ("exclusive = 1", "exclusive", "true or false"),
        ("env_vars = []", "env_vars", "table"),
        ('env = "HOME"', "env", "list"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(tmp_path: Path, line: str, key: str, expected: str) -> None:
    _refused(tmp_path, line, f"{key} = ", expected)


def test_an_unknown_executor_is_answered_with_the_known(tmp_path: Path) -> None:
    path = tmp_path / "env.toml"
    path.write_text('[big]\nexecutor = "slrum"\n')
    refused(ProfileError, lambda: profiles.load(path), str(path), "[big]", "'slrum'", "slurm", "local", "docker")


def test_a_wrong_variable_is_named_alone(tmp_path: Path) -> None:
    text = _refused(
        tmp_path, 'env_vars = { THREADS = 4, TOKEN = "hush-hush" }', "THREADS", 'env_vars.THREADS = "4"', "string"
    )
    assert "hush-hush" not in text


@pytest.mark.parametrize("value", ['"all"', "true", "false", '"user"'])
def test_exclusive_is_a_switch_or_slurms_word(tmp_path: Path, value: str) -> None:
    path = tmp_path / "env.toml"
    path.write_text(f'[big]\nexecutor = "slurm"\nexclusive = {value}\n')
    assert "big" in profiles.load(path).names


@pytest.mark.parametrize(("one", "other"), list(keys.SYNONYMS.items()))
def test_a_key_and_its_synonym_in_one_table(tmp_path: Path, one: str, other: str) -> None:
    value = "8" if "node" in one else '"x"'
    _refused(tmp_path, f"{one} = {value}\n{other} = {value}", one, other)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('[wandb]\nprojekt = "x"', ("[wandb]", "projekt", "'project'")),
        ("[wandb]\nproject = 5", ("[wandb]", "project", "string")),
        ('[cache]\ngitdir = "x"', ("[cache]", "gitdir", "'git_dir'")),
        ("[cli]\ntheme = 5", ("[cli]", "theme")),
    ],
)
def test_sections_are_closed_too(tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "env.toml"
    path.write_text(line)
    refused(ProfileError, lambda: profiles.load(path), str(path), *words)


def test_merged_values_are_checked_with_the_place_of_the_key() -> None:
    refused(ProfileError, lambda: validate({"nodes": "x"}, lambda key: f"{key} (override)"), "nodes (override)", "'x'")


def test_a_profile_cannot_be_changed() -> None:
    profile = validate({"mounts": ["/a:/a"], "env": ["X"]}, str)
    assert profile.mounts == ("/a:/a",)
    with pytest.raises(pydantic.ValidationError):
        profile.nodes = 2  # type: ignore[misc]  # that is what is tried


def test_two_profiles_share_no_defaults() -> None:
    one, two = Profile(), Profile()
    one.env_vars["A"] = "1"
    assert two.env_vars == {} == Profile().env_vars


@pytest.mark.parametrize("lines", ["export A=1", ["export A=1", "module load x"]])
def test_setup_lines_are_a_string_or_a_list(lines: Any) -> None:
    assert validate({"setup_lines": lines}, str).setup_lines in ("export A=1", ("export A=1", "module load x"))


def test_every_synonym_stands_for_a_key() -> None:
    assert set(keys.SYNONYMS.values()) <= set(schema.KEYS)
    assert not set(keys.SYNONYMS) & set(schema.KEYS)


@pytest.mark.parametrize(
    ("stall", "seconds"),
    [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("off", None), ("auto", "auto"), (None, "auto")],
)
def test_the_agent_gets_stall_in_seconds(stall: str | None, seconds: float | str | None) -> None:
    assert validation.validate({"stall": stall} if stall else {}, str).stall == stall
    assert agent.stall_seconds(stall) == seconds
