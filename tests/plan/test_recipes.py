"""Recipes are found by name or path, and only their metadata block is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from automodel_launch import workspace
from automodel_launch.errors import RecipeError
from automodel_launch.plan import recipes
from tests.workbench import Bench, make_bench, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def test_the_blocks_values(bench: Bench) -> None:
    path = bench.script(
        "full",
        'dependencies = ["torch>=2"]\n\n[tool.runspec]\nschema = "1"\nname = "full-one"\ndocs = "Does it"\n'
        'image = "i:1"\n'
        '[tool.runspec.run]\nlaunch = "torchrun"\n[tool.runspec.config]\ndir = "configs/other"\ndefault = "small"\n'
        "[tool.runspec.resources]\nnodes = 2\ngpus_per_node = 8",
    )
    recipe = recipes.find(bench.workspace, "full-one")
    assert recipe.path == path
    assert (recipe.docs, recipe.launch, recipe.default_config) == ("Does it", "torchrun", "small")
    assert recipe.config_dir == bench.workspace.configs / "other"
    assert recipe.dependencies == ("torch>=2",)
    assert recipe.profile_defaults == {"nodes": 2, "gpus_per_node": 8, "container_image": "i:1"}


def test_a_recipe_is_never_imported(bench: Bench, tmp_path: Path) -> None:
    path = bench.script("evil", "[tool.runspec]")
    path.write_text(path.read_text() + f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(1)\n")
    assert recipes.find(bench.workspace, "evil").name == "evil"
    assert not (tmp_path / "ran").exists()


def test_scripts_without_a_block_are_no_recipes(bench: Bench) -> None:
    assert [recipe.name for recipe in recipes.available(bench.workspace)] == ["stub"]
    path = bench.workspace.recipes / "node_agent.py"
    refused(RecipeError, lambda: recipes.find(bench.workspace, str(path)), str(path), "metadata block", "# /// script")


def test_an_unknown_name(bench: Bench) -> None:
    refused(RecipeError, lambda: recipes.find(bench.workspace, "stbu"), "no recipe 'stbu'", "'stub'")
    refused(RecipeError, lambda: recipes.find(bench.workspace, "profile", also=["profiles"]), "'profiles'")
    refused(RecipeError, lambda: recipes.find(bench.workspace, "zzz"), "recipes: stub")
    refused(RecipeError, lambda: recipes.find(bench.workspace, "no/such.py"), "no/such.py", "no such")


def test_a_path_is_the_same_recipe_as_its_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here = bench.workspace
    by_name = recipes.find(here, "stub")
    assert recipes.find(here, str(here.recipes / "stub.py")) == by_name
    monkeypatch.chdir(here.recipes)
    assert recipes.find(here, "stub.py") == by_name
    monkeypatch.chdir(here.configs)
    assert recipes.find(here, "../recipes/stub.py") == by_name


def test_a_path_through_a_link_to_the_checkout(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bench.root)
    found = recipes.find(bench.workspace, str(tmp_path / "link" / "recipes" / "stub.py"))
    assert found == recipes.find(bench.workspace, "stub")


def test_a_script_from_elsewhere_has_its_configs_beside_it(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    script = tmp_path / "mine" / "train it.py"
    script.write_text(
        '# /// script\n# [tool.runspec]\n# name = "mine"\n# [tool.runspec.config]\n# dir = "conf"\n# ///\n'
    )
    recipe = recipes.find(bench.workspace, str(script))
    assert (recipe.name, recipe.config_dir) == ("mine", tmp_path / "mine" / "conf")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("[tool.runspec", ("not TOML",)),
        ("x = 1", ("[tool.runspec]",)),
        ('tool = "x"', ("[tool.runspec]",)),
        ('[tool]\nrunspec = "x"', ("[tool.runspec]",)),
        ('[tool.runspec]\ndoc = "x"', ("'doc'", "'docs'")),
        ("[tool.runspec]\nresources = 5", ("resources",)),
        ("[tool.runspec.resources]\nnode = 1", ("'node'", "'nodes'")),
        ('[tool.runspec.run]\nlaunch = "mpirun"', ("mpirun", "torchrun", "python")),
        ('[tool.runspec]\nname = "a b"', ("a b",)),
        ("[tool.runspec]\nname = 5", ("5",)),
        ("[tool.runspec]\ndocs = 5", ("docs",)),
        ("[tool.runspec]\nimage = 5", ("image",)),
        ('[tool.runspec]\ncommands = "inspect"', ("commands", "inspect")),
        ('[tool.runspec]\ncommands = ["--inspect"]', ("commands", "--inspect")),
        ("[tool.runspec.config]\ndir = 5", ("dir",)),
        ("[tool.runspec.config]\ndefault = 5", ("default",)),
        ('dependencies = "torch"\n[tool.runspec]', ("dependencies",)),
        ("dependencies = [1]\n[tool.runspec]", ("dependencies",)),
    ],
)
def test_a_wrong_block_is_named_with_its_file(bench: Bench, block: str, words: tuple[str, ...]) -> None:
    path = bench.script("wrong", block)
    refused(RecipeError, lambda: recipes.find(bench.workspace, str(path)), str(path), *words)


def test_one_wrong_recipe_does_not_hide_the_others(bench: Bench) -> None:
    bench.script("aaa", "[tool.runspec")
    assert recipes.find(bench.workspace, "stub").name == "stub"


def test_two_recipes_of_one_name(bench: Bench) -> None:
    bench.script("zzz", '[tool.runspec]\nname = "stub"')
    refused(RecipeError, lambda: recipes.find(bench.workspace, "stub"), "stub.py", "zzz.py")


def test_a_block_with_windows_line_ends(bench: Bench) -> None:
    path = bench.workspace.recipes / "stub.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert recipes.find(bench.workspace, "stub").launch == "torchrun"


def test_a_file_that_is_no_text(bench: Bench) -> None:
    path = bench.workspace.recipes / "bin.py"
    path.write_bytes(b"\xff\xfe")
    refused(RecipeError, lambda: recipes.find(bench.workspace, str(path)), str(path))


def test_the_shipped_recipes_have_whole_blocks() -> None:
    here = workspace.find()
    for recipe in recipes.available(here):
        assert recipe.docs
        assert (recipe.config_dir / f"{recipe.default_config}.yaml").is_file(), os.fspath(recipe.config_dir)


def test_the_shipped_recipes_take_one_release_of_an_image() -> None:
    """Steps of a pipeline run in the same one, so that nodes fetch it once."""
    named = {recipe.image for recipe in recipes.available(workspace.find()) if recipe.image}
    assert len({image.rpartition(":")[0] for image in named}) == len(named)
