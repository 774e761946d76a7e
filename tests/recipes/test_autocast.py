"""`distributed.autocast_dtype`: pretraining computes in it, as AutoModel documents and its own recipe does not."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes"))


def test_automodels_own_training_does_not_read_the_key() -> None:
    """Where it does, pretrain_lib/adaptations.py, compute_in_autocast, can go (seen with 0.7.0)."""
    train_ft = importlib.import_module("nemo_automodel.recipes.llm.train_ft")
    recipe = train_ft.TrainFinetuneRecipeForNextTokenPrediction
    assert "_autocast_context" in dir(recipe)
    assert "autocast_context" not in inspect.getsource(train_ft)


def test_layers_compute_in_it_and_weights_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from nemo_automodel.components.utils.model_utils import filter_forward_kwargs
    from pretrain_lib.adaptations import compute_in_autocast

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    model, x = Model(), torch.ones(2, 4)
    compute_in_autocast(SimpleNamespace(distributed_config=SimpleNamespace(autocast_dtype=torch.bfloat16)))  # no parts
    recipe = SimpleNamespace(model_parts=[model], distributed_config=SimpleNamespace(autocast_dtype=None))
    compute_in_autocast(recipe)
    assert (model(x).dtype, capsys.readouterr().out) == (torch.float32, "")
    recipe.distributed_config.autocast_dtype = torch.bfloat16
    compute_in_autocast(recipe)
    assert "bfloat16" in capsys.readouterr().out
    output = model(x)
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in model.parameters() if weight.grad is not None} == {torch.float32}
    assert list(filter_forward_kwargs(model, {"x": x, "other": 1})) == ["x"]  # AutoModel still sees what it takes
