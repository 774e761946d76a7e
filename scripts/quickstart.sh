#!/usr/bin/env bash
# From nothing to a trained model: .venv, a tokenizer and a corpus from texts that every machine has, pretraining, and
# a checkpoint that transformers loads. No network is needed after the installation. A second run skips what is done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves byte code to be written at a module's first import
export PATH="$PWD/.venv/bin:$PATH"

echo "== 1/3 tokenizer and corpus: the standard library's sources and the installed packages' texts" >&2
python scripts/make_tiny_corpus.py --out data/tiny
echo "== 2/3 data preparation: text -> token shards" >&2
python launch.py data-prep -c tiny
echo "== 3/3 pretraining: configs/pretrain/tiny.yaml" >&2
exec python launch.py pretrain -c tiny "$@"
