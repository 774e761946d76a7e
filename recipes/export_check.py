# /// script
# requires-python = ">=3.10"
# dependencies = ["transformers", "torch"]
#
# [tool.runspec]
# schema = "1"
# name = "export-check"
# backend = "export-check"
# docs = "Load an export in transformers, and say its loss on a text"
# image = "nvcr.io/nvidia/nemo-automodel:26.04"
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/export-check"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Loads an exported model and its tokenizer in transformers, as whoever gets it will, and says its loss on a text.

    export_check.py --config FILE.yaml

FILE holds

    model: DIR             what save_pretrained, a training's last checkpoint or `convert` has written
    text: "def main():"    what the loss is computed of
    most: 12.0             the loss above which the export is called broken; null: any finite one will do

Weights that are missing in the files are random after loading, without an error: they are an error here. Exit code 1
where the export is broken, 2 where the config cannot be used.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> int:
    """The exit code; one line on stdout, or on stderr where it is not 0."""
    import yaml

    config = yaml.safe_load(Path(argv[1]).read_text(encoding="utf-8")) if argv[:1] == ["--config"] else {}
    model, text, most = config.get("model"), config.get("text"), config.get("most")
    if not isinstance(model, str) or not Path(model, "config.json").is_file():
        print(f"model: {model!r} is no directory with a config.json", file=sys.stderr)
        return 2
    if not isinstance(text, str) or not text or not isinstance(most, int | float | None):
        print("text is a string, and most a number or null", file=sys.stderr)
        return 2
    loss, faults = _loss(model, text)
    if not math.isfinite(loss) or (most is not None and loss > most):
        faults.append(f"loss {loss:.3f} on {text!r}, at most {most} was expected")
    if faults:
        print(f"{model}: {'; '.join(faults)}", file=sys.stderr)
        return 1
    print(f"{model}: loss {loss:.3f} on {len(text)} characters")
    return 0


def _loss(model: str, text: str) -> tuple[float, list[str]]:
    """The loss a token, and what is wrong with the weights that were read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded, told = AutoModelForCausalLM.from_pretrained(model, output_loading_info=True)
    faults = [f"{kind}: {', '.join(sorted(map(str, told[kind]))[:3])}" for kind in _FAULTS if told.get(kind)]
    ids: Any = AutoTokenizer.from_pretrained(model)(text, return_tensors="pt").input_ids
    with torch.no_grad():
        return float(loaded(input_ids=ids, labels=ids).loss), faults


_FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
