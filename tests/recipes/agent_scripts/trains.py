"""Log as AutoModel does: two steps behind a progress bar, a validation, and a step that no newline follows."""

import sys
import time

PREFIX = "2026-01-01 00:00:00 | INFO | root | "
STEP = "step {} | epoch 0 | loss {} | grad_norm 1.4706 | lr 5.50e-04 | mem 0.25 GiB | tps 683.14(341.57/gpu) | "


def say(text: str) -> None:
    """To standard error, where logging goes."""
    sys.stderr.write(text)
    sys.stderr.flush()


say("\r 0%|          | 0/3 [00:00<?, ?it/s]" + PREFIX + STEP.format(0, "10.3820") + "num_label_tokens 512\n")
say("half of a line: " + PREFIX + "step 1 | epo")
time.sleep(0.7)
say("ch 0 | loss nan | grad_norm inf | lr 5.50e-04 | mem 0.25 GiB | tps 683.14(341.57/gpu) | num_label_tokens 512\n")
say(PREFIX + '[val] name "default" | step 1 | epoch 0 | loss 9.5000 | lr 5.50e-04 | num_label_tokens 64\n')
say("\r 99%|#########| 3/3" + PREFIX + STEP.format(2, "9.1000") + "num_label_tokens 512")
