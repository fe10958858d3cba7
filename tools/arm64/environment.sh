# Sourced by the scripts beside it, in the checkout's root.
# shellcheck shell=bash disable=SC2034
folder=${EDGELM_ARM64:-${XDG_CACHE_HOME:-$HOME/.cache}/edgelm-arm64}  # the arm64 system, see root.sh
build=build/arm64
bin=.venv/bin
logs=$build/logs
# Two designs for each tier of kernels, and `max`, which has all that qemu knows.
cpus=(cortex-a53 cortex-a72 cortex-a76 neoverse-n1 max)
export PYTHONDONTWRITEBYTECODE=1
export OPENBLAS_NUM_THREADS=1  # its threads spin, which an emulator pays for

step() { printf '\n--- arm64: %s (%d s)\n' "$1" "$SECONDS"; }

emulated() { qemu-aarch64-static -L "$folder/root" "$@"; }

# The emulated Python with the package of this checkout; QEMU_CPU names the processor.
python() { PYTHONPATH=$PWD/$build/package "$folder/venv/bin/python" "$@"; }

# The tiers that the built extension can run on a processor, best first.
tiers() { QEMU_CPU=$1 python -c 'from edgelm import _core; print(*_core.usable_isas())'; }

# job NAME COMMAND ...: runs beside as many others as there are cores, and says how it ended. What it
# prints goes to a log; all of that if it fails. `jobs_passed` waits for all and tells.
job() {
  local name=$1
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  (
    started=$SECONDS
    if "$@" >"$logs/$name.log" 2>&1; then
      echo "$name: $(tail -1 "$logs/$name.log") [$((SECONDS - started)) s]"
    else
      cat "$logs/$name.log"
      echo "$name: FAILED"
      touch "$logs/failed"
    fi
  ) &
}

jobs_passed() {
  wait
  [ ! -e "$logs/failed" ]
}
