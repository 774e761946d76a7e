"""Each patch is still needed: without it, the case that it is for ends otherwise. One of these fails when it can go."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.recipes.rehearse.cases import Stage
from tests.recipes.rehearse.forks import LIMIT_S, Forks, forked

PATCHES = "rehearse_lib.patches"


def _answer(forks: Forks, content: dict[str, Any], *without: str) -> Any:
    """The answer of a child that leaves these patches out."""
    from rehearse_lib import attempt, request, worker

    def run() -> Any:
        worker.limit(content.get("bytes", 8 << 30), LIMIT_S)
        for patch in without:
            module, _, name = patch.rpartition(".")
            setattr(importlib.import_module(f"{PATCHES}.{module}"), name, lambda *args: None)
        asked = request.of(content).as_json()
        order = {"request": asked, "config": content["config"], "rank": 0, "until": None, "scratch": str(forks.scratch)}
        return attempt.answer(order, lambda stage: None)

    return forked(run)


def _fails(answer: Any) -> bool:
    return isinstance(answer, str) or bool(answer["refusal"] or answer["partial"])


def _without_megatron_index(forks: Forks, stage: Stage) -> Any:
    from rehearse_lib import megatron_index

    def run() -> Any:
        megatron_index.install = lambda: None
        return _answer(forks, stage.request())

    return forked(run)


def test_the_index_of_megatron_data_needs_a_compiler(forks: Forks, stage: Stage) -> None:
    assert not _fails(_answer(forks, stage.request()))
    assert _fails(_without_megatron_index(forks, stage))


def test_a_large_model_needs_fake_tensors(forks: Forks, stage: Stage) -> None:
    large = [("model.config.hidden_size", 1 << 14), ("model.config.intermediate_size", 1 << 16)]
    content = stage.request(*large, bytes=6 << 30)
    assert not _fails(_answer(forks, content))
    assert _fails(_answer(forks, content, "model._materialize_as_fakes"))


def test_other_builders_need_to_be_told_of_meta(forks: Forks, stage: Stage) -> None:
    # one matrix is larger than the limit: nothing is filled with random numbers up to there
    content = stage.request(("model.n_embd", 1 << 15), ("model.n_layer", 1), name="nanogpt", bytes=6 << 30)
    assert not _fails(_answer(forks, content))
    assert _fails(_answer(forks, content, "model._other_builders"))


def test_a_job_of_one_process_takes_gloo(forks: Forks) -> None:
    def backend(patched: bool) -> Any:
        from nemo_automodel.components.distributed.init_utils import initialize_distributed

        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
        if patched:
            from rehearse_lib.patches import groups

            groups._main_group()
        import torch

        initialize_distributed("fake", 1)
        return torch.distributed.get_backend()

    assert forked(lambda: backend(False)) == "gloo"
    assert forked(lambda: backend(True)) == "fake"


def _in_a_group_of_two(function: Callable[[], Any]) -> Any:
    def run() -> Any:
        import torch.distributed as dist
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
        return function()

    return forked(run)


def test_other_groups_would_be_real_ones(forks: Forks) -> None:
    """AutoModel asks for gloo by name."""
    from nemo_automodel.components.checkpoint import checkpointing
    from rehearse_lib.patches import groups

    def backend() -> str:
        import torch.distributed as dist

        return str(dist.get_backend(checkpointing._new_gloo_process_group(dist.group.WORLD)))

    def patched() -> str:
        groups._other_groups()
        return backend()

    assert _in_a_group_of_two(backend) != "fake"
    assert _in_a_group_of_two(patched) == "fake"


def test_a_sum_over_a_fake_group_leaves_the_tensor(forks: Forks) -> None:
    import torch
    import torch.distributed as dist
    from rehearse_lib.patches import groups

    def total() -> float:
        tensor = torch.ones(1)
        dist.all_reduce(tensor)
        return float(tensor)

    def patched() -> float:
        groups._sums()
        return total()

    assert _in_a_group_of_two(total) == 1.0
    assert _in_a_group_of_two(patched) == 2.0


def test_weights_would_look_tied(forks: Forks) -> None:
    import torch
    from nemo_automodel.shared import tied_weights
    from rehearse_lib import fakes
    from rehearse_lib.patches import tied

    def same() -> bool:
        with fakes.Fakes(allow_non_fake_inputs=True):
            return bool(tied_weights._same_tensor_storage(torch.empty(2, 2), torch.empty(2, 2)))

    def patched() -> bool:
        tied.apply()
        return same()

    assert forked(same) is True
    assert forked(patched) is False


def test_a_module_on_fakes_cannot_be_moved(forks: Forks) -> None:
    import torch
    from rehearse_lib import fakes
    from rehearse_lib.patches import model

    def moved() -> str:
        with fakes.Fakes(allow_non_fake_inputs=True):
            module = torch.nn.Linear(2, 2)
        return type(module.to("cpu", torch.bfloat16).weight.data).__name__ + str(module.weight.dtype)

    def patched() -> str:
        model._stay_where_they_are()
        return moved()

    assert forked(patched) == "FakeTensortorch.float32"
    assert forked(moved) != forked(patched)


def test_the_kernel_for_shapes_of_grouped_products_knows_bfloat16_only(forks: Forks) -> None:
    import torch
    from rehearse_lib import fakes
    from torch._subclasses.fake_tensor import FakeTensorMode

    def product(mode: Any) -> str:
        with mode:
            many, few = torch.empty(8, 16), torch.empty(2, 16, 16)
            ends = torch.empty(2, dtype=torch.int32)
            return str(torch.ops.aten._grouped_mm.default(many, few, ends).dtype)

    assert forked(lambda: product(FakeTensorMode())).startswith("raised")
    assert forked(lambda: product(fakes.Fakes(allow_non_fake_inputs=True))) == "torch.float32"


def test_a_count_of_ids_has_as_many_bins_as_are_asked_for(forks: Forks) -> None:
    """How many there would be without `minlength` depends on values."""
    import torch
    from rehearse_lib import fakes

    def bins(*args: Any, **kwargs: Any) -> Any:
        def count() -> Any:
            with fakes.Fakes(allow_non_fake_inputs=True):
                return tuple(torch.bincount(torch.empty(6, dtype=torch.int64), *args, **kwargs).shape)

        return forked(count)

    assert bins(minlength=8) == bins(None, 8) == (8,)
    assert str(bins()).startswith("raised DynamicOutputShapeException")

    def weighted() -> Any:
        with fakes.Fakes(allow_non_fake_inputs=True):
            return torch.bincount(torch.empty(6, dtype=torch.int64), torch.empty(6), minlength=8).shape

    assert str(forked(weighted)).startswith("raised DynamicOutputShapeException")


def test_dropout_in_attention_would_take_the_whole_matrix(forks: Forks, stage: Stage) -> None:
    content = stage.request(("model.config.attention_dropout", 0.5), ("dataset.seq_length", 64), memory=True)
    with_it, without = _answer(forks, content), _answer(forks, content, "attention.apply")
    assert without["memory"]["activations"] > with_it["memory"]["activations"]


def test_the_weights_of_a_directory_are_not_read_and_have_to_be_there(
    forks: Forks, stage: Stage, tmp_path: Path
) -> None:
    from transformers import LlamaConfig

    config = stage.config()["model"]["config"]
    LlamaConfig(**{key: value for key, value in config.items() if key != "_target_"}).save_pretrained(tmp_path)
    given = ("model", {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
        "pretrained_model_name_or_path": str(tmp_path),
    })  # fmt: skip
    refusal = _answer(forks, stage.request(given))["refusal"]
    assert refusal["type"] == "CheckpointException" and refusal["key"] == "model.pretrained_model_name_or_path"
    assert not _fails(
        _answer(forks, stage.request(given), "weights._no_base_model")
    )  # nothing is loaded, nothing missed
    (tmp_path / "model.safetensors").write_bytes(b"none of these is read")
    assert not _fails(_answer(forks, stage.request(given)))
    assert _fails(_answer(forks, stage.request(given), "weights._no_base_model", "weights._no_checkpoint"))


def test_a_checkpoint_would_be_read(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    """And all of its files have to be there: one for each data-parallel rank of this job, which may have more."""
    checkpoint = tmp_path / "epoch_0_step_3"
    for name in ("model", "optim", "dataloader", "rng"):
        (checkpoint / name).mkdir(parents=True)
    for name in ("step_scheduler.pt", "dataloader/dataloader_dp_rank_0.pt", "dataloader/dataloader_dp_rank_1.pt"):
        (checkpoint / name).touch()
    content = stage.request(("checkpoint.restore_from", str(checkpoint)))
    assert not _fails(_answer(forks, content))
    assert _fails(_answer(forks, content, "weights._no_checkpoint"))
    refusal = _answer(forks, {**content, "world_size": 4})["refusal"]
    assert "dataloader_dp_rank_2.pt" in refusal["text"] and refusal["key"] == "checkpoint.restore_from", refusal


def test_data_elsewhere_would_not_be_found(forks: Forks, stage: Stage) -> None:
    content = stage.request(("dataset.paths", ["/lustre/a"]))
    assert _answer(forks, content)["refusal"] is None
    assert _answer(forks, content, "data._stand_in")["refusal"]["type"] == "FileNotFoundError"


def test_a_tokenizer_elsewhere_would_not_be_found(forks: Forks, stage: Stage) -> None:
    content = stage.request(("dataset.tokenizer.pretrained_model_name_or_path", "openai-community/gpt2"))
    assert "step" in _answer(forks, content)["seconds"]
    assert "step" not in _answer(forks, content, "tokenizers.apply")["seconds"]


def test_a_tracker_would_be_started(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text(
        "class Settings:\n    def __init__(self, **keys): ...\n"
        "def init(**keys):\n    raise RuntimeError('a run was started')\n"
    )
    content = stage.request(("wandb", {"project": "x"}), code=[str(tmp_path)])
    assert not _fails(_answer(forks, content))
    assert "a run was started" in str(_answer(forks, content, "trackers.apply")["refusal"])


def test_gradients_of_ddp_would_be_waited_for(forks: Forks, stage: Stage) -> None:
    content = stage.request(("distributed", {"strategy": "ddp"}))
    assert not _fails(_answer(forks, content))
    assert _fails(_answer(forks, content, "groups._no_gradient_sync"))
