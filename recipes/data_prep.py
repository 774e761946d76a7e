# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy", "tokenizers", "fastokens", "orjson", "pyarrow", "zstandard", "obstore", "pyyaml"]
#
# [tool.runspec]
# schema = "1"
# name = "data-prep"
# docs = "Text to Megatron bin/idx shards and blend.json, or to nanoGPT .bin shards"
# backend = "data-prep"
# code = ["data_prep_lib"]
# commands = ["inspect", "relocate", "fetch", "train-tokenizer"]
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/data-prep"
# default = "default"
# optional = [
#   "sample", "publish", "max_tokens", "ranks", "num_shards", "workers", "max_doc_tokens", "min_doc_chars", "on_error",
#   "artifact", "wandb", "eos_token", "bos_token", "split_special_tokens", "drop_blank", "upload", "part",
# ]
# [tool.runspec.resources]
# nodes = 1
# ///
"""Text to what AutoModel reads: MegatronPretraining's shards and blend.json, or NanogptDataset's .bin shards.

    python recipes/data_prep.py --config FILE.yaml
    python recipes/data_prep.py inspect PATH [--tokenizer DIR] [--documents N] [--json]

FILE is one resolved YAML; its keys are in data_prep_lib/config.py. Talk goes to stderr; to stdout goes what a training
config names, the path of blend.json or the shards' pattern. Killed and run again, it goes on with what is missing.
`inspect` says what is in tokenized data, whoever made them; exit code 1 where they are damaged. `relocate` makes the
blend.json of an output that was moved name its shards again; `fetch` copies one from a store; `train-tokenizer` makes a
tokenizer of texts. `look` is the launcher's: what would be refused, and how much there is to do, as JSON.
Exit codes: 0 done, 1 the work failed, 2 configuration or data, 3 refused before work started, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from data_prep_lib import entry
from data_prep_lib.errors import DataPrepError

_COMMANDS = ("inspect", "relocate", "fetch", "train-tokenizer")


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] and arguments[0] in _COMMANDS:
        return _command(arguments[0], arguments[1:])
    return entry.run(arguments, (__doc__ or "").partition("\n")[0], _prepare, _look, kept="finished shards")


def _command(name: str, argv: list[str]) -> int:
    try:
        if name == "inspect":
            from data_prep_lib.inspect_cli import main as inspect

            return inspect(argv)
        if name == "train-tokenizer":
            from data_prep_lib.train_tokenizer import main as train_tokenizer

            return train_tokenizer(argv)
        parser = argparse.ArgumentParser(prog=f"data_prep.py {name}", allow_abbrev=False)
        if name == "relocate":
            from data_prep_lib.relocate import main as relocate

            parser.add_argument(
                "path", type=_path, help="an output directory that was moved or copied, or its blend.json"
            )
            return relocate(parser.parse_args(argv).path)
        from data_prep_lib.transfer import main as fetch

        parser.add_argument("address", help="s3://BUCKET/PREFIX/HASH, an output that `upload` has copied there")
        parser.add_argument("directory", type=_path, help="the output_dir here that it becomes a part of")
        given = parser.parse_args(argv)
        return fetch(given.address, given.directory)
    except KeyboardInterrupt:
        print(f"{name}: interrupted\n  run the same command again", file=sys.stderr)
        return 130
    except OSError as e:
        print(f"error: {e.filename or name}: {e.strerror or e}", file=sys.stderr)
        return 1
    except DataPrepError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code


def _path(text: str) -> Path:
    if not text.strip():  # a variable of a shell that is not set
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def _look(path: Path, files: bool) -> int:
    from data_prep_lib import look

    return look.main(path, files)


def _prepare(path: Path) -> Path:
    """What a training config names."""
    from data_prep_lib.agreement import agreed
    from data_prep_lib.config import load_config
    from data_prep_lib.job import execute, say
    from data_prep_lib.nodes import of_environment
    from data_prep_lib.safe_files import disk_error

    config = load_config(path)
    try:
        node = of_environment(os.environ, config.part)
        with agreed(config, node, say) as job:
            return execute(job, node)
    except OSError as e:
        raise disk_error(e, config.output_dir) from None


if __name__ == "__main__":
    sys.exit(main())
