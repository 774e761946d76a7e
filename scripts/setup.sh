#!/usr/bin/env bash
# Makes .venv in the checkout: the launcher and what training needs; with --dev also what the tests need. With --launcher
# the launcher alone, which submits to other machines: a quarter of the size, and for Python 3.10 to 3.13. With --bridge
# .venv-bridge, and nothing else: what recipes of Megatron-Bridge need in a job, which cannot live beside AutoModel.
# --trackers also Weights & Biases and MLflow, for configs that have a section for them.
# Versions are exact (requirements/*constraints.txt). Running it again does nothing until they change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv sets=(launcher train) enough="train dev trackers" constraints=requirements/constraints.txt
pythons="3.11 3.12" why="AutoModel 0.7.0 and torch are pinned for them"
case ${1:-} in
  '') ;;
  --dev) sets+=(dev) enough=dev ;;
  --launcher) sets=(launcher) enough="launcher train dev trackers" pythons="3.10 3.11 3.12 3.13" why="NeMo-Run is tried with them" ;;
  --bridge)
    venv=.venv-bridge sets=(bridge) enough=bridge constraints=requirements/bridge-constraints.txt
    why="Megatron-Bridge 0.3.1 and torch are pinned for them"
    ;;
  --trackers) sets+=(trackers) enough=trackers ;;
  *) echo "setup: unknown option $1; there are --dev, --launcher, --trackers and --bridge" >&2 && exit 2 ;;
esac

python=${PYTHON:-python3}
[ ! -x $venv/bin/python ] || python=$venv/bin/python
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || version="none that works"
case " $pythons " in
  *" $version "*) ;;
  *)
    echo "setup: $python is Python $version; it has to be one of ${pythons// /, }: $why" >&2
    [ "$python" = $venv/bin/python ] && echo "setup: rm -r $venv, or rename it, first" >&2
    echo "setup: set PYTHON to such a one and run this again" >&2
    exit 2
    ;;
esac

stamp=$venv/.installed-$(cat requirements/*.txt pyproject.toml scripts/setup.sh | cksum | cut -d' ' -f1)
for set in $enough; do [ ! -e "$stamp-$set" ] || exit 0; done

echo "setup: installing into $venv (a few minutes) ..." >&2
[ -x $venv/bin/python ] || "$python" -m venv $venv
pip=($venv/bin/python -m pip --disable-pip-version-check --quiet)
# The pip that a Python brings along is years old: that of 3.10 takes three times as long to choose among the releases.
"${pip[@]}" install --no-compile --constraint $constraints --upgrade pip
requirements=()
for set in "${sets[@]}"; do requirements+=(-r "requirements/$set.txt"); done
# Compiling every module to byte code would take as long as the rest of the installation, and few are ever imported.
"${pip[@]}" install --no-compile --constraint $constraints "${requirements[@]}"
case $set in
  bridge)
    "${pip[@]}" install --no-compile --no-deps --constraint $constraints -r requirements/bridge-alone.txt
    ;;
  *)
    if [ "$set" != launcher ]; then
      # Without its dependencies: all of them are twice as large, and none of the others is used by our recipes.
      "${pip[@]}" install --no-compile --no-deps --constraint $constraints nemo-automodel
    fi
    if [ "$set" = dev ] && [ "$(uname)" = Linux ]; then
      "${pip[@]}" install --no-compile --no-deps --constraint $constraints nvidia-resiliency-ext
    fi
    "${pip[@]}" install --no-deps --no-build-isolation --editable .
    ;;
esac
# Those that are: imported once here, so that the first run does not wait for them twice, nor each rank of each run where
# jobs cannot write here.
unset PYTHONDONTWRITEBYTECODE
imported() { # MODULES
  $venv/bin/python -c "import $1" 2> /dev/null || {
    echo "setup: $1 cannot be imported:" >&2
    $venv/bin/python -c "import $1"
  }
}
training=nemo_automodel.recipes.llm.train_ft,nemo_automodel.components.datasets.llm.megatron_dataset
training+=,nemo_automodel.components.models.llama.model,torch.distributed.run
case $set in
  bridge) (cd recipes && venv=../$venv imported bridge_lib.import_once) ;;
  *)
    # Of NeMo-Run what the launcher imports: all of it would be 1,500 modules more (of leptonai, libcst, networkx).
    $venv/bin/python -c "from automodel_launch.executors import nemo; nemo.require()" &
    [ "$set" = launcher ] || imported "$training"
    wait $! # fails where NeMo-Run cannot be imported
    ;;
esac
rm -f $venv/.installed-*
touch "$stamp-$set"
