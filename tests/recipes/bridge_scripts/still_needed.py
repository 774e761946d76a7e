"""Whether each patch of bridge_lib is still needed, as one line of JSON: what Megatron-Bridge does without them."""

from __future__ import annotations

import contextlib
import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import imported  # type: ignore[import-not-found]  # beside this script


def fails(act: Any, *kinds: type[BaseException]) -> bool:
    """Whether it raises one of these."""
    try:
        with contextlib.redirect_stdout(None):
            act()
    except kinds:
        return True
    return False


def retention_deletes_the_only_complete_one() -> bool:
    """iter_2 has only been begun; most_recent_k is 1."""
    from megatron.bridge.training.checkpointing import cleanup_old_non_persistent_checkpoint

    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(None):
        for name in ("iter_0000001", "iter_0000002"):
            Path(root, name).mkdir()
        cleanup_old_non_persistent_checkpoint(root, leave_ckpt_num=1)
        return not Path(root, "iter_0000001").exists()


def main() -> dict[str, bool]:
    """Name of the patch -> whether it is needed."""
    needed = {"stand_ins": imported.NEEDS_STAND_INS}
    import torch
    from megatron.bridge.models.hf_pretrained import safe_config_loader
    from megatron.bridge.training import setup, train
    from megatron.core.datasets.utils import compile_helpers
    from megatron.core.optimizer import clip_grads
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    sources = "".join(path.read_text() for path in Path(train.__file__).parent.glob("*.py"))
    entered = "signal_handler.__enter__" in sources or "with state.signal_handler" in sources
    optimizer = inspect.getsource(DistributedOptimizer.state_dict) + inspect.getsource(
        DistributedOptimizer.load_state_dict
    )
    needed["keep_compiled_helpers"] = fails(compile_helpers, SystemExit)
    needed["hear_signals"] = "signal_handler.signals_received()" in sources and not entered
    needed["hold_retention"] = retention_deletes_the_only_complete_one()
    needed["hf_configs"] = "time.sleep(" in inspect.getsource(safe_config_loader)
    needed["optimizer"] = "assert len(steps) == 1" in optimizer and 's["step"] = step' in optimizer
    no_cuda = fails(lambda: torch.zeros(1, device="cuda"), AssertionError, RuntimeError)
    named = "torch.cuda.FloatTensor" in inspect.getsource(clip_grads)
    needed["cpu"] = no_cuda and named and "allow_no_cuda" not in inspect.getsource(setup)
    return needed


if __name__ == "__main__":
    print(json.dumps(main()))
