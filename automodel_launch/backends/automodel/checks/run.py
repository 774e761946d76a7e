"""What AutoModel restores when a run resumes."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel.checkpoints import checkpoint_dir
from automodel_launch.config.dotted import flatten
from automodel_launch.jobs import rundir
from automodel_launch.plan.describe import override, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_OF_OPTIMIZER = ("optimizer._target_", "optimizer.amsgrad")
_WORKERS = "dataloader.num_workers"  # each has a position of its own in the data
_STRATEGY = "distributed.strategy"
_ADAMS = ("Adam", "AdamW", "RAdam")
_NANO = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")  # of AutoModel's own GPT-2
_WHAT = {"optimizer": "the optimizer's states", "dataloader": "the positions in the data"}
_SHAPING = (
    *("_target_", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "attention_bias", "mlp_bias", "n_embd", "n_layer"),
    *("n_head", "n_positions", "num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size"),
)


def same_size(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 restores positions in the data by rank: with another number of ranks they are wrong."""
    first = rundir.world_size(plan.run_dir) if plan.visible else None
    checkpoints = checkpoint_dir(plan.config)
    if first and first != plan.world_size and checkpoints and rundir.last_step(checkpoints) is not None:
        message = f"run {plan.run_name} was started with {first} processes, and would resume with {plan.world_size}:"
        message += " AutoModel then reads other parts of the data, without a message."
        fix = f"nodes and nproc_per_node for {first} processes; or --fresh for a run of its own"
        yield Finding("warning", "other-size", message, fix)


def same_model(plan: Plan) -> Iterator[Finding]:
    """A checkpoint is loaded by names and shapes (tried with AutoModel 0.7.0): what it lacks, or has in another shape,
    ends the job; of what nobody asks for nothing is said: a model with fewer layers goes on with some of the former's.
    """
    begun = rundir.begun_with(plan.run_dir) if plan.visible else None
    folder = checkpoint_dir(plan.config)
    step = rundir.last_step(folder) if begun and folder else None
    if begun is None or step is None:
        return
    was, now = dict(flatten(begun)), dict(flatten(plan.trained))
    for key in rundir.differing(begun, plan.trained):
        if not _is_kept(key) or _alike(key, was.get(key), now.get(key)):
            continue
        shown = [str(of[key]) if key in of else "not given" for of in (was, now)]
        what = _WHAT.get(key.partition(".")[0], "the weights")
        message = f"{key} was {shown[0]} when run {plan.run_name} began, and is {shown[1]} ({source(plan, key)}):"
        fix = f"{override(plan, key, shown[0])}; or --fresh, or another --name, for a run of its own"
        yield Finding("error", "run-differs", f"{message} {what} of its checkpoint of step {step} do not fit.", fix)


def _is_kept(key: str) -> bool:
    section, _, name = key.rpartition(".")
    shaping = {"model.config": _SHAPING, "model": _NANO}.get(section, ())
    return key in (*_OF_OPTIMIZER, _WORKERS, _STRATEGY) or name in shaping


def _alike(key: str, was: object, now: object) -> bool:
    """torch.optim.Adam and its like keep the same states; those of classes of one's own are not known here, nor what a
    class has where a number is not given.
    """
    if key == "optimizer.amsgrad":
        return not now
    if key == _WORKERS:  # from and to other numbers than 0 it was not tried
        return bool(was) or not now
    if key == _STRATEGY:
        return "ddp" not in (was, now)
    if was is None or now is None:
        return not (key.endswith("_bias") and (was or now))
    if key != "optimizer._target_":
        return False
    names = [str(path).rpartition(".")[2] for path in (was, now)]
    return all(name in _ADAMS for name in names) or not all(str(path).startswith("torch.optim.") for path in (was, now))


CHECKS = (same_size, same_model)
