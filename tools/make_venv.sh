#!/bin/sh
# make_venv.sh FOLDER: a virtual environment with the build tools in it, or a message that says what
# this machine lacks. PYTHON and CXX, if set, name the interpreter and the compiler to use.
set -eu
folder=$1

fail() {
  printf 'edgelm: ' >&2
  printf '%s\n' "$@" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
  is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is older than Python 3.10."
else
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if is_new_enough "$candidate"; then
      PYTHON=$candidate
      break
    fi
  done
  [ -n "${PYTHON:-}" ] || fail "Python 3.10 or newer was not found." \
    "Install it (Debian, Ubuntu: sudo apt install python3 python3-venv python3-dev;" \
    "Fedora: sudo dnf install python3-devel), or name one: make PYTHON=/path/to/python3"
fi

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$PYTHON cannot make virtual environments: it lacks the venv or ensurepip module." \
    "Debian, Ubuntu: sudo apt install python3-venv. Or name another: make PYTHON=/path/to/python3"

headers=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] || fail "$PYTHON has no C headers ($headers/Python.h is missing)." \
  "Debian, Ubuntu: sudo apt install python3-dev. Fedora: sudo dnf install python3-devel."

compiler=${CXX:-}
if [ -z "$compiler" ]; then
  for candidate in c++ g++ clang++; do
    if command -v "$candidate" >/dev/null 2>&1; then
      compiler=$candidate
      break
    fi
  done
fi
[ -n "$compiler" ] || fail "A C++ compiler was not found." \
  "Debian, Ubuntu: sudo apt install g++. Fedora: sudo dnf install gcc-c++."
printf '#include <concepts>\n#include <span>\nint main() { return std::span<int>().empty() ? 0 : 1; }\n' |
  # shellcheck disable=SC2086  (CXX may carry flags or a launcher)
  $compiler -std=c++20 -fsyntax-only -x c++ - 2>/dev/null ||
  fail "The compiler '$compiler' does not compile C++20; g++ 11 or clang 14, or newer, is needed." \
    "Install one, or name another: make CXX=/path/to/g++"

"$PYTHON" -m venv --clear "$folder"
# What pyproject.toml's build-system asks for, with cmake and ninja: builds are not isolated here, so
# that they are incremental.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  "scikit-build-core>=1.1" "pybind11>=2.13" "cmake>=3.20" "ninja>=1.10"
