#!/usr/bin/env bash
# simde.sh [TEST ...]: tests the kernels of AVX-512 VNNI on a machine that has only AVX2.
#
# SIMDe (Debian's libsimde-dev) does in AVX2 what their instructions do, each as a call, so that the tier's
# own source is what is compiled and run: C++ tests, and the kernels' tests, whose oracle is float64,
# with the bits of AVX2's kernels beside. That its code has no AVX-512 is read from the objects.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/simde
bin=.venv/bin
tests=("$@")
[ $# -gt 0 ] || tests=(tests/kernels/test_{kernels,attention,vector}.py)

if ! echo '#include <simde/x86/avx512.h>' | ${CXX:-c++} -E -x c++ - >/dev/null 2>&1; then
  echo "simde.sh: no simde/x86/avx512.h. Debian, Ubuntu: sudo apt install libsimde-dev" >&2
  exit 1
fi

# Nothing here is timed: -O1 builds in half the time.
"$bin/cmake" -S . -B "$build" -G Ninja -DCMAKE_MAKE_PROGRAM="$PWD/$bin/ninja" --log-level=WARNING \
  -DEDGELM_SIMDE=ON -DEDGELM_TESTS=ON -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -Dpybind11_DIR="$("$bin/python" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$PWD/$bin/python"
"$bin/cmake" --build "$build"

# What only AVX-512 has: registers of 64 bytes, registers 16 to 31, mask registers.
wide='%zmm|%[xy]mm(1[6-9]|2[0-9]|3[01])|%k[0-7]'
for object in "$build"/CMakeFiles/edgelm_kernels_avx512vnni.dir/csrc/kernels/units/*.o; do
  if objdump -d --no-show-raw-insn "$object" | grep -E -m 3 "$wide"; then
    echo "simde.sh: $object has AVX-512's instructions" >&2
    exit 1
  fi
done

"$build/edgelm_tests"

rm -rf "$build/package"
mkdir -p "$build/package/edgelm"
ln -s "$PWD"/python/edgelm/* "$PWD/$build"/_core.*.so "$build/package/edgelm/"
# Without `site`, which would put the editable install's extension first.
packages=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
emulated() { PYTHONPATH=$PWD/$build/package:$packages:$PWD/tests/support "$bin/python" -S "$@"; }
emulated -m pytest -q --isa avx512vnni -p no:cacheprovider --durations=5 "${tests[@]}"

# Where the processor has the instructions: each kernel's bits are those of the tier as it is shipped.
if "$bin/python" -c 'from edgelm import _core; print(*_core.usable_isas())' | grep -qw avx512vnni; then
  diff <(PYTHONPATH=tests/support "$bin/python" tools/kernel_digests.py avx512vnni) \
    <(emulated tools/kernel_digests.py avx512vnni)
  echo "the bits of all kernels are those of AVX-512's own instructions"
fi
