#!/usr/bin/env bash
# Makes .venv in the checkout: the launcher and what training needs; with --dev also what the tests need. With --launcher
# the launcher alone, which submits to other machines: a quarter of the size, and for Python 3.10 to 3.13.
# Versions are exact (requirements/constraints.txt). Running it again does nothing until they change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sets=(launcher train) enough="train dev" pythons="3.11 3.12" why="AutoModel 0.7.0 and torch are pinned for them"
case ${1:-} in
  '') ;;
  --dev) sets+=(dev) enough=dev ;;
  --launcher) sets=(launcher) enough="launcher train dev" pythons="3.10 3.11 3.12 3.13" why="NeMo-Run is tried with them" ;;
  *) echo "setup: unknown option $1; there are --dev and --launcher" >&2 && exit 2 ;;
esac

python=${PYTHON:-python3}
[ ! -x .venv/bin/python ] || python=.venv/bin/python
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || version="none that works"
case " $pythons " in
  *" $version "*) ;;
  *)
    echo "setup: $python is Python $version; it has to be one of ${pythons// /, }: $why" >&2
    [ "$python" = .venv/bin/python ] && echo "setup: rm -r .venv, or rename it, first" >&2
    echo "setup: set PYTHON to such a one and run this again" >&2
    exit 2
    ;;
esac

stamp=.venv/.installed-$(cat requirements/*.txt pyproject.toml scripts/setup.sh | cksum | cut -d' ' -f1)
for set in $enough; do [ ! -e "$stamp-$set" ] || exit 0; done

echo "setup: installing into .venv (a few minutes) ..." >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
requirements=()
for set in "${sets[@]}"; do requirements+=(-r "requirements/$set.txt"); done
# Compiling every module to byte code would take as long as the rest of the installation, and few are ever imported.
"${pip[@]}" install --no-compile --constraint requirements/constraints.txt "${requirements[@]}"
if [ "$set" != launcher ]; then
  # Without its dependencies: all of them are twice as large, and none of the others is used by our recipes.
  "${pip[@]}" install --no-compile --no-deps --constraint requirements/constraints.txt nemo-automodel
fi
"${pip[@]}" install --no-deps --no-build-isolation --editable .
# Those that are: imported once here, so that the first run does not wait for them twice.
unset PYTHONDONTWRITEBYTECODE
.venv/bin/python -c "import nemo_run" &
if [ "$set" != launcher ]; then
  .venv/bin/python -c "import nemo_automodel.recipes.llm.train_ft" 2> /dev/null || {
    echo "setup: AutoModel cannot be imported:" >&2
    .venv/bin/python -c "import nemo_automodel.recipes.llm.train_ft"
  }
fi
wait $! # fails where nemo_run cannot be imported
rm -f .venv/.installed-*
touch "$stamp-$set"
