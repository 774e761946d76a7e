"""env.toml: tables, inheritance, what is no profile, and how a wrong file is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch.errors import ProfileError
from automodel_launch.profile import keys
from automodel_launch.profile.profiles import EnvFile, Layer, load, merge
from tests.workbench import refused

NEMOTRON = """
[wandb]
project = "nemotron"
entity = "my-team"
[artifacts]
backend = "file"
root = "/lustre/users/me/artifacts"
[cache]
git_dir = "/lustre/users/me/git-cache"
[cli]
theme = "github-light"
[local]
executor = "local"
nproc_per_node = 8
[my-cluster]
executor = "slurm"
account = "my-account"
partition = "batch"
run_partition = "interactive"
batch_partition = "backfill"
time = "04:00:00"
tunnel = "ssh"
host = "login.cluster.com"
user = "me"
identity = "~/.ssh/id_rsa"
remote_job_dir = "/lustre/users/me/run"
setup_lines = "module load slurm"
[pretrain]
extends = "my-cluster"
nodes = 2
ntasks_per_node = 8
gpus_per_node = 8
cpus_per_task = 12
mem = "0"
exclusive = true
mounts = ["/lustre:/lustre"]
startup_commands = ["source /opt/env.sh"]
container = "/lustre/users/me/image.sqsh"
[pretrain.env_vars]
NCCL_DEBUG = "INFO"
[pretrain-large]
extends = "pretrain"
nodes = 8
[in-docker]
executor = "docker"
container_image = "nvcr.io/nvidia/nemo:25.11"
runtime = "nvidia"
ipc_mode = "host"
shm_size = "32g"
"""


def _load(folder: Path, text: str, wanted: str | None = None) -> EnvFile:
    path = folder / "env.toml"
    path.write_text(text, encoding="utf-8", newline="")
    return load(path, wanted)


def _values(env_file: EnvFile, name: str) -> dict[str, object]:
    return merge(env_file.layers(name))[0]


def test_a_file_brought_along_from_nemotron_loads_unchanged(tmp_path: Path) -> None:
    env_file = _load(tmp_path, NEMOTRON)
    assert env_file.names == ["in-docker", "local", "my-cluster", "pretrain", "pretrain-large"]
    large = _values(env_file, "pretrain-large")
    assert (large["nodes"], large["nproc_per_node"], large["account"]) == (8, 8, "my-account")
    assert large["container_image"] == "/lustre/users/me/image.sqsh"
    assert large["env_vars"] == {"NCCL_DEBUG": "INFO"}
    assert env_file.sections["wandb"] == {"project": "nemotron", "entity": "my-team"}
    assert env_file.sections["artifacts"]["root"] == "/lustre/users/me/artifacts"
    assert env_file.theme == "github-light"


def test_nemotrons_build_keys_are_known(tmp_path: Path) -> None:
    _load(tmp_path, '[c]\nexecutor = "slurm"\nbuild_partition = "cpu"\nbuild_time = "02:00:00"\n')


def test_without_a_file_there_is_the_built_in_profile(tmp_path: Path) -> None:
    env_file = load(tmp_path / "env.toml")
    assert env_file.names == ["local"]
    assert _values(env_file, "local") == {"executor": "local", "nodes": 1, "nproc_per_node": "auto"}
    refused(ProfileError, lambda: load(tmp_path / "env.toml", "big"), "big", "does not exist", "local")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "\ufeff", '[a]\r\nexecutor = "local"\r\n'])
def test_files_with_little_in_them(tmp_path: Path, text: str) -> None:
    assert "local" in _load(tmp_path, text).names


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    assert "a" in _load(tmp_path, '\ufeff[a]\nexecutor = "local"\n').names


def test_parents_come_first_and_each_value_knows_its_table(tmp_path: Path) -> None:
    env_file = _load(
        tmp_path,
        '[a]\nexecutor = "local"\nnodes = 1\n[a.env_vars]\nX = "a"\nY = "a"\n'
        '[b]\nextends = "a"\nntasks_per_node = 4\n[c]\nextends = "b"\nnproc_per_node = 3\n[c.env_vars]\nX = "c"\n',
    )
    assert [layer.source for layer in env_file.layers("c")] == ["env.toml [a]", "env.toml [b]", "env.toml [c]"]
    values, sources = merge(env_file.layers("c"))
    assert values == {"executor": "local", "nodes": 1, "nproc_per_node": 3, "env_vars": {"X": "c", "Y": "a"}}
    assert sources == {
        "executor": "env.toml [a]",
        "nodes": "env.toml [a]",
        "nproc_per_node": "env.toml [c]",
        "env_vars.X": "env.toml [c]",
        "env_vars.Y": "env.toml [a]",
    }


def test_extends_the_built_in_profile(tmp_path: Path) -> None:
    env_file = _load(tmp_path, '[four]\nextends = "local"\nnproc_per_node = 4\n')
    assert _values(env_file, "four") == {"executor": "local", "nodes": 1, "nproc_per_node": 4}


@pytest.mark.parametrize("circle", ['[a]\nextends = "b"\n[b]\nextends = "a"\n', '[a]\nextends = "a"\n'])
def test_a_circle_of_extends(tmp_path: Path, circle: str) -> None:
    refused(ProfileError, lambda: _load(tmp_path, circle, "a"), "env.toml", "[", "circle", "a ->")


def test_an_unknown_parent_is_named_with_the_table_that_wants_it(tmp_path: Path) -> None:
    text = '[base-slurm]\nexecutor = "slurm"\n[b]\nextends = "base_slrm"\n'
    refused(ProfileError, lambda: _load(tmp_path, text, "b"), "[b]", "base_slrm", "'base-slurm'")


@pytest.mark.parametrize("written", ["5", '["local"]', "true", "{ a = 1 }"])
def test_extends_takes_one_name(tmp_path: Path, written: str) -> None:
    text = f"[b]\nextends = {written}\n"
    refused(ProfileError, lambda: _load(tmp_path, text), "[b]", "extends")
    refused(ProfileError, lambda: _load(tmp_path, text, "b"), "[b]", "extends")


def test_a_wrong_name_is_answered_with_the_nearest_and_all(tmp_path: Path) -> None:
    text = '[dgx-a100]\nexecutor = "local"\n[other]\nexecutor = "local"\n'
    refused(ProfileError, lambda: _load(tmp_path, text, "dgx_a10"), "dgx_a10", "'dgx-a100'", "other", "local")


def test_a_wrong_name_is_answered_before_another_table_is_checked(tmp_path: Path) -> None:
    refused(ProfileError, lambda: _load(tmp_path, "[a]\nnodse = 1\n", "b"), "no profile 'b'")


@pytest.mark.parametrize("section", ["wandb", "artifacts", "cache", "cli"])
def test_a_section_is_no_profile(tmp_path: Path, section: str) -> None:
    refused(ProfileError, lambda: _load(tmp_path, f"[{section}]\n", section), f"[{section}]", "not a profile", "local")


@pytest.mark.parametrize(
    ("text", "line"),
    [('[a]\nexecutor = "local"\nnodes = = 2\n', "line 3"), ("[a\n", "line 1"), ("[a]\nx = 1\nx = 2\n", "line 3")],
)
def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    refused(ProfileError, lambda: _load(tmp_path, text), str(tmp_path / "env.toml"), "TOML", line)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    refused(ProfileError, lambda: load(tmp_path), str(tmp_path))
    (tmp_path / "env.toml").write_bytes(b'[a]\nhost = "\xff"\n')
    refused(ProfileError, lambda: load(tmp_path / "env.toml"), "env.toml")


def test_a_key_outside_of_any_table(tmp_path: Path) -> None:
    refused(ProfileError, lambda: _load(tmp_path, "nodes = 1\n"), "env.toml", "'nodes'", "[NAME]")


def test_a_table_that_says_nothing_of_its_executor(tmp_path: Path) -> None:
    refused(ProfileError, lambda: _load(tmp_path, "[big]\nnodes = 1\n"), "[big]", "executor", "extends")


@pytest.mark.parametrize("text", ['[wanb]\nproject = "x"\n', "[wandbb]\n", '[artefacts]\nroot = "/x"\n'])
def test_a_misspelt_section_is_told_from_a_profile(tmp_path: Path, text: str) -> None:
    near = "artifacts" if "art" in text else "wandb"
    refused(ProfileError, lambda: _load(tmp_path, text), text[: text.index("]") + 1], f"'{near}'")


def test_a_parent_needs_no_executor_of_its_own(tmp_path: Path) -> None:
    text = '[sizes]\nnodes = 1\n[a]\nextends = "sizes"\nexecutor = "local"\n'
    assert _values(_load(tmp_path, text), "a")["nodes"] == 1


@pytest.mark.parametrize("name", ["a b", "a.b", "üñï", "$HOME", "it's", ""])
def test_odd_names_of_profiles(tmp_path: Path, name: str) -> None:
    env_file = _load(tmp_path, f'["{name}"]\nexecutor = "local"\n')
    assert _values(env_file, name) == {"executor": "local"}


def test_merging_leaves_the_layers_alone() -> None:
    low, high = {"env_vars": {"A": "1"}, "env": ["X"]}, {"env_vars": {"B": "2"}, "env": ["Y"]}
    values, _ = merge([Layer("low", low), Layer("high", high)])
    assert values == {"env_vars": {"A": "1", "B": "2"}, "env": ["Y"]}
    assert (low, high) == ({"env_vars": {"A": "1"}, "env": ["X"]}, {"env_vars": {"B": "2"}, "env": ["Y"]})


def test_a_table_over_a_value_of_another_kind_is_an_error_not_a_crash() -> None:
    for low in (5, "text", ["a"]):
        values, _ = merge([Layer("low", {"env_vars": low}), Layer("high", {"env_vars": {"A": "1"}})])
        assert values["env_vars"] == {"A": "1"}


def test_a_replaced_table_leaves_no_source_behind() -> None:
    _, sources = merge([Layer("low", {"env_vars": {"A": "1"}}), Layer("high", {"env_vars": "x"})])
    assert sources == {"env_vars": "high"}


def test_reading_needs_no_pydantic_for_a_wrong_name() -> None:
    assert set(keys.SECTION_NAMES) == {"wandb", "artifacts", "cache", "cli"}


@pytest.mark.parametrize("name", ["../../../x", "a/b", "/a", ".", "..", "a\\u0000b", "a\\nb", "x" * 101])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "env.toml"
    path.write_text(f'["{name}"]\nexecutor = "local"\n')
    refused(ProfileError, lambda: load(path), "name")


@pytest.mark.parametrize("name", ["a", "dgx-h100", "_base", "my cluster", "user@site.example", "größe", "x" * 100])
def test_names_of_profiles(tmp_path: Path, name: str) -> None:
    path = tmp_path / "env.toml"
    path.write_text(f'["{name}"]\nexecutor = "local"\n', encoding="utf-8")
    assert name in load(path).names
