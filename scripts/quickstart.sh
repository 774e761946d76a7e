#!/usr/bin/env bash
# From nothing to a trained model: .venv, a tokenizer and a corpus from texts that every machine has, pretraining, and
# a checkpoint that transformers loads. No network is needed after the installation. A second run skips what is done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves byte code to be written at a module's first import
export PATH="$PWD/.venv/bin:$PATH"

# AutoModel builds its data helper, in C++, at the first use, behind a lock: begun here, it costs no time of its own.
helper="from nemo_automodel.components.datasets.llm.megatron.megatron_utils import compile_helper; compile_helper()"
python -c "$helper" > /dev/null 2>&1 < /dev/null & # where it fails, the training fails at it too, and says why
building=$!
trap 'kill "$building" 2> /dev/null || true' EXIT

echo "== 1/3 tokenizer and corpus: the standard library's sources and the installed packages' texts" >&2
python scripts/make_tiny_corpus.py --out data/tiny
echo "== 2/3 data preparation: text -> token shards" >&2
python launch.py data-prep -c tiny
wait "$building" || true
trap - EXIT
echo "== 3/3 pretraining: configs/pretrain/tiny.yaml" >&2
exec python launch.py pretrain -c tiny "$@"
