#!/usr/bin/env bash
# free_threading.sh PYTHON [pytest argument ...]: builds edgelm for a free-threaded CPython, as
# python3.14t, in build/free and runs the whole suite there with the lock off. `make .venv/with-test` first.
#
# xllamacpp has no wheel for such a Python. The oracles open the library that .venv has; tests that need
# the package itself are deselected here.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
free=build/free
if [ "$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("Py_GIL_DISABLED"))')" != 1 ]; then
  echo "free_threading.sh: $python always has its lock; name a free-threaded one, as python3.14t" >&2
  exit 1
fi

need_package=(
  tests/api/test_memory.py::test_no_more_memory_than_llama_cpp
)

pip=(.venv/bin/python -m pip --disable-pip-version-check --python "$free/bin/python" --quiet install)
if [ ! -e "$free/made" ]; then
  "$python" -m venv --clear --without-pip "$free"
  mapfile -t needs < <("$free/bin/python" -c '
import tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*(need for need in extras["test"] if "xllamacpp" not in need), sep="\n")')
  "${pip[@]}" --only-binary=:all: cmake ninja scikit-build-core pybind11 "${needs[@]}"
  cp -r .venv/lib/python3.*/site-packages/xllamacpp \
    "$("$free/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  touch "$free/made"
fi
"${pip[@]}" --no-build-isolation --editable .

PYTHON_GIL=0 "$free/bin/python" -m pytest -p no:cacheprovider "${need_package[@]/#/--deselect=}" "$@"
