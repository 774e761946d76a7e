"""Does transformers' AutoTokenizer give the ids of tokenizer.json? Of some models it does not (Llama 2's legacy mode).

The data are made with tokenizer.json, as it is. What later reads texts through AutoTokenizer, an evaluation or an
inference server, would then feed the model other ids for the same text. Importing transformers takes seconds, so this
is a process of its own, beside the work: `python -m data_prep_lib.auto_tokenizer DIRECTORY` prints a JSON document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECONDS = 120.0  # that the end of the work waits for it at most
# Classes that take tokenizer.json as it is; every other may build a tokenizer of its own from what is in it.
_VERBATIM = (None, "PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")


class Comparison:
    """The comparison, begun when this is made; None of it where there is nothing to compare."""

    def __init__(self, tokenizer_path: str, kept: Path) -> None:
        """`kept` is where the result is, or will be, written."""
        self._kept = kept
        self._process: subprocess.Popen[str] | None = None
        folder = Path(tokenizer_path).parent
        if kept.exists() or not find_spec("transformers") or _class(folder) in _VERBATIM:
            return
        recipes = str(Path(__file__).parents[1])
        environ = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": recipes}
        command = [sys.executable, "-m", "data_prep_lib.auto_tokenizer", str(folder)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environ)

    def warning(self) -> str | None:
        """What is to be said, once for each tokenizer and output_dir; waits for the process."""
        from data_prep_lib.safe_files import write_json

        if self._process is None:
            return None
        try:
            out, _ = self._process.communicate(timeout=SECONDS)
            found: dict[str, Any] = json.loads(out)
        except (subprocess.TimeoutExpired, ValueError):
            self.close()
            return None
        write_json(self._kept, found)
        if not found["differences"]:
            return None
        return (
            f"AutoTokenizer ({found['class']}) gives other ids than tokenizer.json for {found['differences']} of"
            f" {found['strings']} odd strings, the first: {found['first']!r}; the data have those of tokenizer.json"
        )

    def close(self) -> None:
        """End the process, if it is still there."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _class(folder: Path) -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
        return str(found) if found else None
    return None


def compare(folder: Path) -> dict[str, Any]:
    """Over the strings of adversarial.py."""
    from transformers import AutoTokenizer

    from data_prep_lib.adversarial import strings
    from data_prep_lib.vocab import load_tokenizer

    plain, auto = load_tokenizer(str(folder / "tokenizer.json")), AutoTokenizer.from_pretrained(str(folder))
    texts = strings(plain)
    right = plain.encode_batch_fast(texts, add_special_tokens=False)
    differ = [
        text
        for text, encoding in zip(texts, right, strict=True)
        if auto.encode(text, add_special_tokens=False) != encoding.ids
    ]
    first = min(differ, key=len)[:40] if differ else None
    return {"class": type(auto).__name__, "strings": len(texts), "differences": len(differ), "first": first}


if __name__ == "__main__":
    os.nice(10)  # the work comes first
    print(json.dumps(compare(Path(sys.argv[1]))))
