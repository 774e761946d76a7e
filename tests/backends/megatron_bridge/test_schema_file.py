"""The data file: what an installed Megatron-Bridge says, where one is installed; and its look-ups."""

from __future__ import annotations

import importlib.metadata

import pytest

from automodel_launch.backends.megatron_bridge import keys, schema
from automodel_launch.backends.megatron_bridge.schema import kinds
from tests.conftest import ROOT
from tests.recipes.bridge_fixtures import in_forks, needs_bridge

KNOWN = schema.load()


@needs_bridge
@pytest.mark.timeout(1200)  # it may be the first that waits for the installation
def test_the_file_is_what_the_script_writes_now() -> None:
    code, said = in_forks([str(ROOT / "scripts" / "make_bridge_schema.py"), "--check"])
    assert code == 0, said[-2000:]


def test_the_release_is_the_one_that_is_pinned() -> None:
    pinned = (ROOT / "requirements" / "bridge-constraints.txt").read_text(encoding="utf-8")
    assert f"megatron-bridge=={schema.VERSION}" in pinned
    for name in ("pretrain_bridge", "finetune_bridge"):
        assert f"megatron-bridge=={schema.VERSION}" in (ROOT / "recipes" / f"{name}.py").read_text(encoding="utf-8")
    with pytest.raises(importlib.metadata.PackageNotFoundError):  # the launcher's own Python has no need of it
        importlib.metadata.version("megatron-bridge")


def test_every_recipe_has_what_the_checks_read() -> None:
    assert len(KNOWN.recipes) == 152
    for name in KNOWN.recipes:
        recipe = KNOWN.recipe(name)
        assert recipe is not None
        assert KNOWN.recipe(recipe.path) == recipe
        if recipe.failed:
            continue
        for section, kind in recipe.classes.items():
            assert KNOWN.fields(kind), (name, section)
        for key, value in recipe.values.items():
            section, _, rest = key.partition(".")
            names = {field for field, _ in schema.fields_of(KNOWN.classes(section, recipe))}
            assert rest.partition(".")[0] in names or (not rest and section == keys.PRECISION), (name, key, value)


def test_most_recipes_have_the_numbers_of_their_models() -> None:
    """Those of images and text ask the hub for more than Megatron-Bridge has itself."""
    recipes = [one for name in KNOWN.recipes if (one := KNOWN.recipe(name)) and one.hub and not one.failed]
    without = {one.name for one in recipes if keys.LAYERS not in one.values and "VL" not in one.classes["model"]}
    assert {name for name in without if not name.startswith(("ministral3", "glm_45v"))} == set()


def test_keys_are_fields_of_the_schema() -> None:
    """A renamed field shows here first."""
    every = {f"{s}.{f}" for s in KNOWN.sections for f, _ in schema.fields_of(KNOWN.classes(s, None))}
    written = {
        value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    assert written - {keys.BLEND} <= every
    assert set(keys.POSITIVE) <= every


def test_recipes_by_path_and_by_name() -> None:
    assert KNOWN.recipe("megatron.bridge.recipes.qwen.qwen3_8b_pretrain_config")  # its package exports it, too
    assert KNOWN.recipe("megatron.bridge.recipes.llama.llama3.qwen3_8b_pretrain_config") is None
    assert KNOWN.recipe("my.own.qwen3_8b_pretrain_config") is None


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (3, "int", True),
        (True, "int", False),
        (1.5, "int", False),
        (3, "float", True),
        ("3e-4", "float", True),
        ("fast", "float", False),
        ("yes", "bool", False),
        (None, "int", False),
        (None, "int|null", True),
        ("torch.bfloat16", "dtype", True),
        ("bf16", "dtype|null", True),
        ("bfloat61", "dtype", False),
        ("flash", "'auto'|'flash'", True),
        ("flahs", "'auto'|'flash'", False),
        (1, "0|1|2", True),
        (7, "0|1|2", False),
        ({"a": 1}, "@LoRA|str", True),
        ("${oc.env:N}", "int", True),
        ({"_target_": "a.b"}, "int", True),
        ([1], "list|null", True),
        ("x", "", True),
    ],
)
def test_kinds(value: object, kind: str, fits: bool) -> None:
    assert kinds.fits(value, kind) is fits


def test_examples_of_a_kind() -> None:
    assert kinds.example("a.b", "yes", "bool") == "a.b=true"
    assert kinds.example("a.b", 1.5, "int") == "a.b=2"
    assert kinds.example("a.b", "bfloat61", "dtype") == "a.b=bfloat16"
    assert kinds.words("float|int|null") == "a number or null"
