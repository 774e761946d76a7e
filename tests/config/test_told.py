"""What is said about faults that were told badly once: the key at fault, what is there, and a value to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.config import configs, files, overrides
from automodel_launch.errors import ConfigError, ProfileError
from automodel_launch.executors.containers import images, mounts
from automodel_launch.profile import profiles, references
from tests.workbench import Bench, make_bench, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize(
    ("word", "says", "never"),
    [
        ("steps=1e-3", ["an integer (2 ", "steps=1000"], "steps=0,"),
        ("model=3", ["a mapping (with depth, _target_", "model.depth=..."], "{"),
        ("betas=3", ["betas=[3]"], "betas=3,"),
        ("long=3", ["a list (of 90 entries", "long=[3]"], "88"),
    ],
)
def test_a_value_of_another_kind(bench: Bench, word: str, says: list[str], never: str) -> None:
    bench.config(f"steps: 2\nmodel: {{depth: 1, _target_: a.B}}\nbetas: [0.9, 0.95]\nlong: {[*range(90)]}\n")
    given = [overrides.parse(word)]
    text = refused(ConfigError, lambda: configs.load(bench.recipe, "t", given), *says)
    assert never not in text


def test_a_reference_that_is_not_closed_or_not_understood(bench: Bench) -> None:
    refused(ConfigError, lambda: bench.planned("value: '${oc.env:X'\n"), "t.yaml:1", "not closed by a `}`")
    refused(ConfigError, lambda: bench.planned("value: '${a b}'\n"), "t.yaml:1", "not understood", "references: ${key")


def test_a_link_that_is_no_config(bench: Bench, tmp_path: Path) -> None:
    loop, dangling, folder = (tmp_path / f"{name}.yaml" for name in ("loop", "dangling", "folder"))
    loop.symlink_to(loop)
    dangling.symlink_to("gone")
    folder.mkdir()
    for path, words in ((loop, "back to itself"), (dangling, "link to gone"), (folder, "is a directory")):
        refused(ConfigError, lambda path=path: files.find(bench.recipe, str(path)), words)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ('[p.big]\nexecutor = "local"\n', "p.big", ['["p.big"]', "[p-big]", "inside [p]"]),
        ('[p.big]\nexecutor = "local"\n', "p", ['["p.big"]', "[p-big]", "inside [p]"]),
        ('[[p]]\nexecutor = "local"\n', "p", ["[[p]] is a list of tables", "[p]"]),
    ],
)
def test_a_table_that_is_no_profile(bench: Bench, text: str, name: str, words: list[str]) -> None:
    bench.env(text, local=False)
    refused(ProfileError, lambda: profiles.load(bench.workspace.env_file, name), *words)


def test_a_section_sees_no_profile() -> None:
    table = {"git_dir": "${workspace}/git"}
    refused(ProfileError, lambda: references.section(table, "env.toml [cache]", {}), "[cache]", "git_dir", "oc.env")
    assert references.section({"a": "x", "b": "${a}/y"}, "env.toml [cache]", {})["b"] == "x/y"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nvcr.io/$USER/x:1", ["$USER", "nvcr.io/${oc.env:USER}/x:1"]),
        ("/home/${USER}/x.sqsh", ["$USER", "/home/${oc.env:USER}/x.sqsh"]),
        ("ubuntu@sha256", ["'sha256' is no digest", '"ubuntu"']),
        ("ubuntu@sha256:", ["no digest"]),
        ("ubuntu@sha256:abc", ["no digest"]),  # Docker: invalid reference format
    ],
)
def test_an_image_that_is_none(written: str, words: list[str]) -> None:
    refused(ProfileError, lambda: images.read(written, "profile"), *words)


def test_variables_and_digests_that_are_right() -> None:
    assert images.read("$HOME/x.sqsh", "profile").path == "$HOME/x.sqsh"
    assert images.read("ubuntu@sha256:" + "0a" * 32, "profile").digest == "sha256:" + "0a" * 32


def test_mounts_as_pyxis_has_them() -> None:
    found = mounts.read(["tmpfs:/scratch:size=1G+nosuid", "umount:/sys/fs", "/a:/b:ro+rprivate"], "/jobs", "profile")
    assert [mount.word for mount in found][:3] == [
        "tmpfs:/scratch:size=1G+nosuid",
        "umount:/sys/fs",
        "/a:/b:ro+rprivate",
    ]
    assert [mount.has_source for mount in found] == [False, False, True, True]
    for wrong in ("tmpfs", "tmp:/x", "umount:x", "/a:/b:z"):
        refused(ProfileError, lambda wrong=wrong: mounts.read([wrong], "/jobs", "profile"), wrong)  # type: ignore[misc]


def test_mounts_as_docker_has_them() -> None:
    found = mounts.read(["cache:/c", "/a:/b:ro,z", "/d:/e:cached"], "/jobs", "profile", docker=True)
    assert [mount.text for mount in found][:3] == ["cache:/c", "/a:/b:ro,z", "/d:/e:cached"]
    assert found[1].read_only
    for wrong in ("tmpfs:/x", "a/b:/c", "/a:/b:rbind"):
        refused(ProfileError, lambda wrong=wrong: mounts.read([wrong], "/jobs", "profile", docker=True), wrong)  # type: ignore[misc]


def test_hints_name_the_command_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "`python launch.py jobs` lists them; launch.py status; /a/launch.py"
    assert console.told(text) == text
    monkeypatch.setattr(workspace, "is_checkout", lambda: False)
    assert console.told(text) == "`automodel-launch jobs` lists them; automodel-launch status; /a/launch.py"


def test_a_line_that_nobody_reads_whole_loses_its_middle() -> None:
    told = console.told("begin " + "x" * 100_000 + " end")
    assert len(told) < 5000 and told.startswith("begin") and told.endswith(" end") and "characters more" in told
