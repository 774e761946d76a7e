"""What the text of a user's file tells of a class or function in it; what it cannot tell is no finding."""

from __future__ import annotations

import pytest

from automodel_launch.backends import own_steps

BASE = "class A(Base):\n    def __init__(self, least, most=3, *, name): ...\n"


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        (BASE, ["least", "name"], None),
        (BASE, ["least"], "needs the argument 'name'"),
        (BASE, ["name"], "needs the argument 'least'"),
        (BASE, ["least", "name", "mots"], "takes no argument 'mots'; it takes least, most, name"),
        ("class A(Base):\n    def __init__(self, **rest): ...\n", ["x"], None),
        ("@dataclass\nclass A:\n    least: int\n", ["least"], None),
        ("class A(Base):\n    least: int\n", ["least"], None),  # its base may take it
        ("class A:\n    pass\n", ["least"], "A takes no argument"),
        ("def A(least): ...\n", [], "A needs the argument 'least'"),
        ("def A(*args, least=1): ...\n", ["least"], None),
        ("@wraps\ndef A(least): ...\n", [], None),
        ("A = 3\n", [], "A is 3, no class and no function"),
        ("A = partial(b, 3)\n", ["c"], None),
        ("if x:\n    A = 3\nelse:\n    def A(): ...\n", ["c"], None),
        ("A = 3\ntry:\n    from b import A\nexcept ImportError:\n    pass\n", [], None),
        ("A = 3\nimport b as A\n", [], None),
        ("def A(b): ...\ndef A(): ...\n", [], None),
        ("def (", [], None),
    ],
)
def test_what_a_call_needs(text: str, given: list[str], said: str | None) -> None:
    found = own_steps.refused(text.encode(), "A", given)
    assert found is None if said is None else said in str(found)


@pytest.mark.parametrize(
    ("text", "none"),
    [
        ("class A:\n    def filter(self, doc): ...\n", True),
        ("class A:\n    def __call__(self, data, rank, world_size): ...\n", False),
        ("class A:\n    __call__ = run\n", False),
        ("class A(Base): pass\n", False),
        ("def A(): ...\n", False),
    ],
)
def test_what_is_no_step(text: str, none: bool) -> None:
    assert (own_steps.no_step(text.encode(), "A") is not None) is none


def test_what_a_file_imports_as_it_is_read() -> None:
    text = b"import a.b, c\nfrom d.e import f\nfrom . import g\ntry:\n    import h\nexcept ImportError: pass\n"
    assert list(own_steps.imported(text + b"def x(): import i\n")) == ["a", "c", "d"]
