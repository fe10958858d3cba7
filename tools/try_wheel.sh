#!/usr/bin/env bash
# try_wheel.sh WHEEL: installs a Linux wheel in a new environment and generates text there, outside the
# checkout, with the ISA that it chooses and without vectors. An arm64 wheel runs under qemu-user.
set -euo pipefail
wheel=$(realpath "$1")
checkout=$(cd "$(dirname "$0")/.." && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
pip=("$checkout/.venv/bin/python" -m pip --quiet --disable-pip-version-check)

case $wheel in
*_"$(uname -m)".whl)
  "$checkout/.venv/bin/python" -m venv "$fresh/venv"
  "${pip[@]}" --python "$fresh/venv/bin/python" install "$wheel"
  ;;
*_aarch64.whl)
  folder=${EDGELM_ARM64:-${XDG_CACHE_HOME:-$HOME/.cache}/edgelm-arm64}
  "$checkout/tools/arm64/root.sh" "$folder"
  ln -s "$folder/root" "$fresh/root"
  version=$(basename "$(readlink "$folder/root/usr/bin/python3")" | sed 's/^python//')
  mkdir -p "$fresh/venv/bin"
  cp "$checkout/tools/arm64/python" "$fresh/venv/bin/python"
  printf 'home = %s\ninclude-system-site-packages = false\n' "$fresh/root/usr/bin" >"$fresh/venv/pyvenv.cfg"
  # The wheel's own tag is among these; NumPy's and MarkupSafe's are others.
  platforms=(manylinux_2_28_aarch64 manylinux_2_27_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64)
  "${pip[@]}" install --only-binary=:all: "${platforms[@]/#/--platform=}" --implementation cp \
    --python-version "$version" --target "$fresh/venv/lib/python$version/site-packages" "$wheel"
  ;;
*)
  echo "try_wheel.sh: nothing here runs $(basename "$wheel")" >&2
  exit 1
  ;;
esac

cd "$fresh"
venv/bin/python "$checkout/tools/check_wheel.py"
for isa in '' scalar; do
  EDGELM_ISA=$isa venv/bin/python -m edgelm run --raw smollm2-135m-instruct "The capital of France is" \
    --max-tokens 8 --temperature 0 | tee answer
  grep -q Paris answer
done
