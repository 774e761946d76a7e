"""What has to be other than in a job: a file a concern, each patch with its reason and the release that it was seen in.

tests/recipes/rehearse/test_patches.py holds a test for each of them that fails when it is no longer needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import attention, data, groups, model, tied, tokenizers, trackers, weights

if TYPE_CHECKING:
    from ..underway import Run


def before_config(run: Run) -> None:
    """Patch what AutoModel's loader resolves while it reads the configuration."""
    tokenizers.apply(run)


def of_config(run: Run, node: Any) -> None:
    """Patch what the set-up calls, and change in AutoModel's configuration what a rehearsal cannot honour."""
    weights.adapt(run, node)
    groups.apply(node)
    model.apply(run, node)
    tied.apply()
    attention.apply()
    data.apply(run, node)


def of_recipe(run: Run) -> None:
    """Patch what depends on the recipe."""
    trackers.apply(run)
