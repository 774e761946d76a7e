"""cpu_adapter: each patch is still needed, does what it says, and nothing is touched where there is CUDA.

Every `still_needs` test calls AutoModel without the patch and expects it to fail: when a release of AutoModel makes one
of these pass, the patch can go.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

if TYPE_CHECKING:
    import cpu_adapter
    import torch


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Not when the tests are collected, which each of xdist's workers does."""
    for name in ("cpu_adapter", "torch"):
        globals()[name] = importlib.import_module(name)
    if torch.cuda.is_available():
        pytest.skip("the adapter does nothing where there is CUDA")


NO_CUDA = r"(?i)cuda|nvidia|accelerator|reset_peak_memory_stats"
"""What torch says, one way or another, where a GPU is asked for and there is none."""

FAILURES = (AssertionError, AttributeError, RuntimeError)
"""The types of exception that it says it with: which one depends on the call, and on how torch was built."""


@pytest.fixture(scope="module")
def train_ft() -> ModuleType:
    """AutoModel's recipe module, imported once."""
    return importlib.import_module("nemo_automodel.recipes.llm.train_ft")


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch, train_ft: ModuleType) -> Iterator[None]:
    """Puts everything back that the adapter may patch."""
    for name in ("reset_peak_memory_stats", "current_device"):
        monkeypatch.setattr(torch.cuda, name, getattr(torch.cuda, name))
    for module_name in cpu_adapter._BUILDERS_IMPORTED_BY:
        module = importlib.import_module(module_name)
        for name in cpu_adapter._BUILDERS:
            monkeypatch.setattr(module, name, getattr(module, name))
    yield
    torch.compiler.set_stance("default")


@pytest.fixture
def process_group() -> Iterator[None]:
    """A gloo group of this process alone, as the recipe makes one before it builds the model."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def config(**sections: Any) -> Any:
    """AutoModel's view of a configuration."""
    from nemo_automodel.components.config.loader import ConfigNode

    return ConfigNode(sections)


def build_model() -> torch.nn.Module:
    """Builds a very small model the way the recipe does: with a distribution strategy."""
    from nemo_automodel import NeMoAutoModelForCausalLM
    from nemo_automodel.components.distributed.config import DDPConfig, DistributedSetup
    from nemo_automodel.components.distributed.mesh import MeshContext
    from transformers import LlamaConfig

    small = LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=8,
    )  # fmt: skip
    setup = DistributedSetup(mesh_context=MeshContext(), strategy_config=DDPConfig())
    model: torch.nn.Module = NeMoAutoModelForCausalLM.from_config(
        small, torch_dtype="float32", attn_implementation="sdpa", distributed_setup=setup
    )
    return model


def test_the_adapter_was_read_against_the_installed_release() -> None:
    assert importlib.metadata.version("nemo-automodel") == cpu_adapter.SEEN_WITH


def test_automodel_still_needs_reset_peak_memory_stats(train_ft: ModuleType) -> None:
    recipe = train_ft.TrainFinetuneRecipeForNextTokenPrediction(config())
    with pytest.raises(FAILURES, match=NO_CUDA):
        recipe.setup()


def test_automodel_still_needs_current_device(train_ft: ModuleType) -> None:
    with pytest.raises(FAILURES, match=NO_CUDA):
        build_model()


def test_automodel_still_needs_the_builders_on_the_cpu(restored: None, process_group: None) -> None:
    cpu_adapter._patch_torch_cuda()
    with pytest.raises(FAILURES, match=NO_CUDA):
        build_model()


def test_automodel_still_compiles_its_norm_unasked(train_ft: ModuleType) -> None:
    utils = importlib.import_module("nemo_automodel.components.models.common.utils")
    assert hasattr(utils._float32_rms_norm_fwd, "_torchdynamo_orig_callable")


def test_asynchronous_checkpoints_still_need_cuda(tmp_path: Path) -> None:
    from nemo_automodel.components.checkpoint.config import CheckpointingConfig

    settings = CheckpointingConfig(checkpoint_dir=tmp_path, is_async=True)
    with pytest.raises(FAILURES, match=NO_CUDA):
        settings.build(dp_rank=0, tp_rank=0, pp_rank=0)


def test_nccl_still_needs_cuda() -> None:
    with pytest.raises((RuntimeError, ValueError), match=r"(?i)nccl|gpu"):
        torch.distributed.init_process_group("nccl", store=torch.distributed.HashStore(), rank=0, world_size=1)


def test_with_the_adapter_a_model_is_built_on_the_cpu(restored: None, process_group: None) -> None:
    cpu_adapter.apply()
    assert {parameter.device.type for parameter in build_model().parameters()} == {"cpu"}


def test_the_settings_that_need_cuda_are_changed_and_named(restored: None) -> None:
    adapted = config(dist_env={"backend": "nccl"}, checkpoint={"is_async": True, "enabled": True})
    said = "; ".join(cpu_adapter.apply(adapted))
    assert adapted.get("dist_env.backend") == "gloo"
    assert adapted.get("checkpoint.is_async") is False
    assert adapted.get("checkpoint.enabled") is True
    assert "gloo instead of nccl" in said
    assert "is_async is false" in said


def test_a_config_without_dist_env_gets_gloo_too(restored: None) -> None:
    adapted = config()
    cpu_adapter.apply(adapted)
    assert adapted.get("dist_env.backend") == "gloo"


def test_settings_that_work_on_a_cpu_are_left_alone(restored: None) -> None:
    adapted = config(dist_env={"backend": "gloo"}, checkpoint={"is_async": False})
    said = "; ".join(cpu_adapter.apply(adapted))
    assert "gloo" not in said
    assert "is_async" not in said


@pytest.mark.parametrize("asked", [True, False])
def test_compilation_is_skipped_unless_it_was_asked_for(restored: None, asked: bool) -> None:
    said = cpu_adapter.apply(config(compile={"enabled": asked}))
    assert ("torch.compile is skipped" in said) is not asked


def test_applying_it_twice_wraps_once(restored: None, train_ft: ModuleType) -> None:
    cpu_adapter.apply()
    wrapped = train_ft.apply_model_infrastructure
    cpu_adapter.apply()
    assert train_ft.apply_model_infrastructure is wrapped


def test_with_cuda_nothing_is_touched(restored: None, train_ft: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = (torch.cuda.current_device, torch.cuda.reset_peak_memory_stats, train_ft.instantiate_infrastructure)
    untouched = config(checkpoint={"is_async": True})
    assert cpu_adapter.apply(untouched) == []
    assert before == (
        torch.cuda.current_device, torch.cuda.reset_peak_memory_stats, train_ft.instantiate_infrastructure
    )  # fmt: skip
    assert untouched.to_dict() == {"checkpoint": {"is_async": True}}
