"""Saving, resuming and stopping: what a checkpoint needs, and whether a job that is told to stop saves one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch import contract
from automodel_launch.backends.data import weights as weights_
from automodel_launch.backends.data.paths import of_each_job
from automodel_launch.backends.megatron_bridge import keys, schema, settings
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, override, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_FSDP = ("dist.use_megatron_fsdp", "ddp.use_megatron_fsdp")


def formats(plan: Plan) -> Iterator[Finding]:
    """A format that the training's other settings can be saved in."""
    known = settings.of(plan.config)
    written = known.value(keys.CKPT_FORMAT)
    fsdp = any(known.value(key) is True for key in _FSDP)
    saves = dotted.get(plan.config, keys.SAVE) is not None or not known.written(keys.SAVE)
    if saves and written == "zarr":
        message = (
            f"{told(plan, known, keys.CKPT_FORMAT)}: megatron-core 0.16 has no such format any more; the first save"
        )
        yield Finding("error", "bad-value", f"{message} is an error.", f"{keys.CKPT_FORMAT}=torch_dist")
    elif known.value(keys.ASYNC) is True and written not in (None, "torch_dist"):
        message = f"{told(plan, known, keys.ASYNC)}, and {told(plan, known, keys.CKPT_FORMAT)} is not saved that way."
        yield Finding("error", "bad-value", message, f"{keys.CKPT_FORMAT}=torch_dist")
    elif saves and written == "fsdp_dtensor" and not fsdp:
        message = f"{told(plan, known, keys.CKPT_FORMAT)} is for Megatron FSDP, which is off."
        yield Finding("error", "bad-value", message, f"{keys.CKPT_FORMAT}=torch_dist")
    elif saves and fsdp and written not in (None, "fsdp_dtensor"):
        key = next(key for key in _FSDP if known.value(key) is True)
        message = f"{told(plan, known, key)}: Megatron FSDP saves fsdp_dtensor only, not {written}."
        yield Finding("error", "bad-value", message, override(plan, keys.CKPT_FORMAT, "fsdp_dtensor"))


def saves(plan: Plan) -> Iterator[Finding]:
    """A run without checkpoints, and one that would delete them."""
    known = settings.of(plan.config)
    if known.written(keys.SAVE) and dotted.get(plan.config, keys.SAVE) is None:
        message = f"{keys.SAVE} = null ({source(plan, keys.SAVE)}): nothing is saved."
        yield Finding("warning", "checkpoint-dir", message, f"{keys.SAVE}=${{run.dir}}/checkpoints")
    yield from of_each_job(plan, keys.SAVE)
    if known.number(keys.KEEP) == 0:
        message = f"{describe(plan, keys.KEEP)}: each checkpoint is deleted when it has been saved."
        yield Finding("error", "bad-value", message, f"{keys.KEEP}=3; -1 keeps all")


def loads(plan: Plan) -> Iterator[Finding]:
    """A run resumes from where it saves."""
    load, save = dotted.get(plan.config, keys.LOAD), dotted.get(plan.config, keys.SAVE)
    if dotted.has(plan.config, keys.LOAD) and load is None and save is not None:
        message = f"{keys.LOAD} is null: a job of this run that is started again begins at step 0, and saves over the"
        yield Finding("warning", "resume", f"{message} checkpoints of the one before.", f"~{keys.LOAD}")
    elif isinstance(load, str) and isinstance(save, str) and load.rstrip("/") != save.rstrip("/"):
        message = (
            f"{describe(plan, keys.LOAD)} is not {describe(plan, keys.SAVE)}: a job of this run that is started again"
        )
        fix = f"{keys.PRETRAINED}={load} for weights to begin with, and ~{keys.LOAD}"
        yield Finding("warning", "resume", f"{message} resumes from there, not from its own checkpoints.", fix)
    if dotted.get(plan.config, "checkpoint.finetune") is True:
        message = (
            f"{describe(plan, 'checkpoint.finetune')}: every job of this run begins at step 0 with the weights that"
        )
        yield Finding("warning", "resume", f"{message} it finds.", f"~checkpoint.finetune, and {keys.PRETRAINED}=DIR")


def signals(plan: Plan) -> Iterator[Finding]:
    """A job that is told to stop saves first: not with Megatron-Bridge 0.3.1 alone, but with recipes/bridge_lib."""
    known = settings.of(plan.config)
    if dotted.get(plan.config, keys.SIGNAL_HANDLER) is False:
        message = (
            f"{describe(plan, keys.SIGNAL_HANDLER)}: a job that is cancelled, or whose time is up, ends without saving."
        )
        yield Finding("warning", "no-save-at-stop", message, f"~{keys.SIGNAL_HANDLER}")
    signal = known.number("train.exit_signal")
    if known.written("train.exit_signal") and signal not in (None, 15):
        message = f"{describe(plan, 'train.exit_signal')}: the launcher stops a training with SIGTERM (15)."
        yield Finding("warning", "no-save-at-stop", message, "~train.exit_signal")


def fault_tolerance(plan: Plan) -> Iterator[Finding]:
    """The section `ft` talks to monitors that ft_launcher starts."""
    section, ft = dotted.get(plan.config, keys.FT), plan.profile.launcher == "ft"
    on = isinstance(section, Mapping) and section.get("enable_ft_package") is True
    if on and not ft:
        message = (
            f"{describe(plan, 'ft.enable_ft_package')} talks to ft_launcher's rank monitors, and torchrun starts the"
        )
        fix = 'run.env.launcher=ft, or launcher = "ft" in the profile; or ~ft'
        yield Finding("error", "ft-launcher", f"{message} ranks.", fix)
    elif on and ft:
        message = f"{describe(plan, 'ft.enable_ft_package')}: recipes/ft_heartbeat.py sends heartbeats with"
        yield Finding("note", "ft-launcher", f'{message} launcher = "ft" anyway.', "~ft would do as well")
    in_process = dotted.get(plan.config, "inprocess_restart.enabled")
    if in_process is True and ft:
        message = (
            f"{describe(plan, 'inprocess_restart.enabled')} restarts ranks inside their processes, and ft_launcher"
        )
        yield Finding("warning", "ft-launcher", f"{message} starts new ones: one of them.", "~inprocess_restart")


def deterministic(plan: Plan) -> Iterator[Finding]:
    """Deterministic training needs an algorithm of NCCL's that is, and no fused cross entropy."""
    known = settings.of(plan.config)
    key = "model.deterministic_mode"
    if known.value(key) is not True:
        return
    given = {**plan.profile.env_vars}
    if "NCCL_ALGO" not in given and "NCCL_ALGO" not in plan.profile.env:
        message = f"{told(plan, known, key)} needs NCCL_ALGO in the job's environment."
        yield Finding("error", "missing-key", message, "run.env.env_vars.NCCL_ALGO=Ring")
    fused = "model.cross_entropy_loss_fusion"
    if known.value(fused) is True:
        message = f"{told(plan, known, key)}, and {told(plan, known, fused)} is not deterministic."
        yield Finding("error", "bad-value", message, override(plan, fused, "false"))


def weights(plan: Plan) -> Iterator[Finding]:
    """`pretrained_checkpoint` holds Megatron's format, not Hugging Face's; a hub id is none."""
    value = dotted.get(plan.config, keys.PRETRAINED)
    if (
        isinstance(value, str)
        and not dotted.left_to_the_job(value)
        and not value.startswith(("/", "~", "s3://", "msc://"))
    ):
        hub = value.count("/") == 1 and schema.load().recipe(settings.recipe_path(plan.config)) is not None
        what = (
            "is a hub id, and Megatron-Bridge loads a directory in Megatron's format"
            if hub
            else "is relative, and the job runs elsewhere"
        )
        fix = f"launch.py convert hf-to-megatron source={value} output=DIR" if hub else "an absolute path"
        yield Finding("error", "no-model", f"{describe(plan, keys.PRETRAINED)} {what}.", fix)


def begun_with(plan: Plan) -> Iterator[Finding]:
    """A directory with a checkpoint: of another one Megatron-Bridge 0.3.1 says nothing, and trains random weights."""
    value = dotted.get(plan.config, keys.PRETRAINED)
    folder = weights_.seen(plan, value)
    if folder is None or any((folder / name).is_file() for name in contract.MEGATRON_LATEST):
        return
    what, fix = (
        f"there is no {contract.MEGATRON_LATEST[0]} in it",
        "RUN_DIR/checkpoints, or what `launch.py convert hf-to-megatron` makes",
    )
    if contract.MEGATRON_CHECKPOINT.fullmatch(folder.name):
        what, fix = "it is one of a directory's checkpoints", f"{keys.PRETRAINED}={folder.parent}, whose newest is read"
    elif (folder / "config.json").is_file():
        what = "it is in Hugging Face's format"
        fix = f"launch.py convert hf-to-megatron source={value} output=DIR"
    elif not folder.is_dir():
        what = "no such directory"
    message = f"{describe(plan, keys.PRETRAINED)}: {what}, and Megatron-Bridge would train random weights."
    yield Finding("error", "no-model", message, fix)


CHECKS = (formats, saves, loads, signals, fault_tolerance, deterministic, weights, begun_with)
