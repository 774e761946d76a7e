"""What an attached run leaves to the log: noise that its backend lists, and never anything that may be trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import backends
from automodel_launch.launch.quiet import COLUMNS, Quiet

RECORDED = Path(__file__).parent / "recorded"  # rank 0 of `pretrain -c tiny` and `pretrain-bridge -c tiny`, 20 steps
FRAMEWORKS = ("automodel", "megatron-bridge")
TROUBLE = (
    "Traceback (most recent call last):",
    "RuntimeError: shapes differ",
    "torch.OutOfMemoryError: CUDA out of memory.",
    "[rank3]: ValueError: x",
    "2026-11-27 09:33:41 | ERROR | root | (model): broken",
    "2026-11-27 09:33:41 | ERROR | nemo_automodel.components.checkpoint.checkpointing | No original HF safetensors",
    "2026-11-27 09:33:41 | WARNING | root | the loss is odd",
    "2026-11-27 09:33:41 | INFO | root | my own: line",
    "2026-11-27 09:33:41 | INFO | my_code.data | Extracting documents",
    "/home/me/launcher/runs/a.1/code/my.py:3: UserWarning: lr is large",
    "/home/me/my/train.py:7: FutureWarning: `torch.distributed.all_gather` is deprecated.",
    "[node agent 0 2026-11-27 09:33:41] stopping: SIGTERM",
    "resume: epoch_0_step_9 is incomplete and was moved aside",
    "warning: x",
    "WARNING: low disk: 3 GB",
    "error: disk quota exceeded",
    "Fatal Python error: Segmentation fault",
    "NCCL WARN Cuda failure 'out of memory'",
    "my print: 5 of 7",
    "step 3 of my own | done",
    "\x1b[31mRuntimeError: in colour\x1b[0m",
)
STACK = """\
Traceback (most recent call last):
  File "/opt/x.py", line 3, in f
    if tensor.storage().size() != tensor.numel():
    ^^^^
  warnings.warn(

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/y.py", line 3, in <module>
    config: dict = f()
KeyError: 'optimizer'"""


def _log(name: str) -> list[str]:
    return (RECORDED / f"{name}.log").read_text().splitlines()


def _shown(name: str, lines: list[str]) -> list[str]:
    quiet = Quiet(backends.get(name).noise())
    shown = [quiet.line(line) for line in lines]
    assert quiet.hidden == shown.count(None)
    return [line for line in shown if line is not None]


@pytest.mark.parametrize(
    ("name", "before", "step"), [("automodel", 252, "step "), ("megatron-bridge", 261, "iteration ")]
)
def test_a_recorded_run_shows_what_a_person_needs(name: str, before: int, step: str) -> None:
    shown = _shown(name, _log(name))
    steps = [line for line in shown if line.startswith(step)]
    assert len(steps) == 20
    assert len(shown) - len(steps) < 12
    assert len(_log(name)) - len(shown) >= before - 5
    saves = [line for line in shown if line.startswith("saving  ")]
    assert saves and all(f"  {step}" in line and "/checkpoints" in line for line in saves)
    assert max(map(len, [*steps, *saves])) <= COLUMNS
    assert not any(" | " in line for line in shown)
    assert "no CUDA: running on the CPU (what that changes is in the log)" in shown
    assert any(line.startswith("validation  ") for line in shown)
    assert shown[-1].startswith("finished: step 20 of 20; checkpoint ")
    assert not any("0.00 GiB" in line or "num_label_tokens" in line for line in shown)


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_is_shown_wherever_it_stands(name: str, trouble: str) -> None:
    lines = _log(name)
    for place in range(0, len(lines), 7):
        shown = _shown(name, [*lines[:place], trouble, *lines[place : place + 3]])
        assert trouble in shown, lines[max(0, place - 1) : place + 1]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_traceback_is_shown_to_its_end(name: str) -> None:
    lines, stack = _log(name), STACK.splitlines()
    for place in range(0, len(lines), 7):
        text = "\n".join(_shown(name, [*lines[:place], *stack, *lines[place:]]))
        assert STACK in text
    assert len(_shown(name, [*lines[:9], *stack, *lines[9:]])) < len(_shown(name, lines)) + len(stack) + 110


@pytest.mark.parametrize("name", ["none", "data-prep"])
def test_of_a_script_that_nobody_knows_every_line_is_shown(name: str) -> None:
    lines = [*_log("automodel"), *_log("megatron-bridge"), *TROUBLE]
    assert _shown(name, lines) == lines


def _automodel(step: str) -> str:
    return f"2026-11-27 09:33:44 | INFO | root | {step}"


def test_a_step_of_a_large_run_fits_and_tells_what_has_changed() -> None:
    step = "step {} | epoch {} | loss 2.3282 | grad_norm 2.1796 | lr 1.60e-04 | mem 71.23 GiB"
    step += " | tps 12345678.28(8562.64/gpu) | num_label_tokens {} | aux_loss 0.1234"
    lines = [_automodel(step.format(1234567, 0, 4096)), _automodel(step.format(1234568, 1, 4000))]
    shown = _shown("automodel", lines)
    assert shown[0] == "step 1234567  loss 2.3282  grad_norm 2.1796  lr 1.60e-04  12,345,678 tokens/s"
    assert all(len(line) <= COLUMNS for line in shown)
    short = _automodel("step {} | epoch {} | loss 2.3 | mem 71.23 GiB | num_label_tokens {}")
    lines = [short.format(1, 0, 4096), short.format(2, 0, 4096), short.format(3, 1, 99)]
    assert _shown("automodel", lines) == [
        "step 1  loss 2.3  71.2 GiB",
        "step 2  loss 2.3  71.2 GiB",
        "step 3  loss 2.3  71.2 GiB  epoch 1  num_label_tokens 99",
    ]


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf", "1e+30"])
def test_a_loss_that_is_no_number_is_shown(loss: str) -> None:
    assert _shown("automodel", [_automodel(f"step 3 | epoch 0 | loss {loss} | mem 0.00 GiB")]) == [
        f"step 3  loss {loss}"
    ]
    line = f" [2026-11-27 09:35:41] iteration  3/ 20 | lm loss: {loss} | number of nan iterations: 1 |"
    assert _shown("megatron-bridge", [line])[0].startswith("iteration 3/20  loss ")
    assert _shown("megatron-bridge", [line])[0].endswith("nan 1")


@pytest.mark.parametrize(
    ("name", "line", "short"),
    [
        ("automodel", "Saving checkpoint to /a b/epoch_0_step_9", "saving  step 9  /a b/epoch_0_step_9"),
        ("automodel", "Saving checkpoint to /jobs/last", "saving  /jobs/last"),
        ("automodel", f"Saving checkpoint to /{'d' * 90}/epoch_1_step_40", "saving  step 40  .../epoch_1_step_40"),
        ("automodel", f"Saving checkpoint to /{'d' * 90}", "saving"),
        ("automodel", "Loading checkpoint from /a/epoch_0_step_9", "loading  step 9  /a/epoch_0_step_9"),
        ("automodel", "Loading checkpoint from the hub", "Loading checkpoint from the hub"),
        (
            "megatron-bridge",
            f"saving checkpoint at iteration      20 to /{'d' * 60}/runs/a b/checkpoints in torch_dist format",
            "saving  iteration 20  .../runs/a b/checkpoints",
        ),
        (
            "megatron-bridge",
            "  successfully saved checkpoint from iteration      20 to /a/checkpoints [ t 1/1, p 1/1 ]",
            "saved  iteration 20",
        ),
        (
            "megatron-bridge",
            " loading distributed checkpoint from /a/checkpoints at iteration 20",
            "loading  iteration 20  /a/checkpoints",
        ),
    ],
)
def test_a_checkpoint_is_told_by_its_step_and_its_place(name: str, line: str, short: str) -> None:
    if line.startswith("Saving"):
        line = f"2026-11-27 09:33:58 | INFO | nemo_automodel.recipes.base_recipe | {line}"
    assert _shown(name, [line]) == [short]


def test_a_named_validation_keeps_its_name() -> None:
    named = _automodel('[val] name "code" | step 9 | epoch 0 | loss 7.5584 | lr 7.00e-04 | num_label_tokens 8192')
    assert _shown("automodel", [named]) == ["validation code  step 9  loss 7.5584"]


def test_a_validation_of_no_token_has_no_loss() -> None:
    line = _automodel('[val] name "default" | step 999999 | epoch 0 | loss 0.0000 | lr 7.00e-04 | num_label_tokens 0')
    (shown,) = _shown("automodel", [line])
    assert shown == "validation  step 999999  no loss: no whole batch of held-out data, or no labels"
    assert len(shown) <= COLUMNS


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_a_profile_prints_is_left_to_the_log(name: str) -> None:
    line = "USDT:2026-11-27 13:52:06 23225:23225 SyncActivityProfilerHandler.cpp:52] profiler_st"
    assert _shown(name, [f"{line}art", f"{line}op", "profiling step 3 of rank 0"]) == ["profiling step 3 of rank 0"]


def test_what_an_evaluation_does_not_have_is_no_news() -> None:
    head = "2026-11-27 09:33:41 | INFO | root | "
    assert _shown("automodel", [f"{head}LR scheduler: <unavailable>", f"{head}Optimizer: <unavailable>"]) == []
    assert _shown("automodel", [f"{head}LR scheduler: mine"]) == [f"{head}LR scheduler: mine"]


@pytest.mark.parametrize("name", [*FRAMEWORKS[:1], "export-check", "conversion"])
def test_what_libraries_print_at_their_import_is_noise_of_each_recipe_that_loads_them(name: str) -> None:
    lines = [
        "Failed to load /opt/torchao/_C_mxfp8.so: Could not load this library",
        "W1128 12:54:56.198000 13473 torch/utils/_pytree.py:630] <enum 'KernelPreference'> is an Enum subclass and is "
        "now natively supported by torch.compile as an opaque value type.",
        "/out: loss 7.984 on 25 characters",
        *TROUBLE,
    ]
    assert _shown(name, lines) == lines[2:]
