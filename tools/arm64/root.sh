#!/usr/bin/env bash
# root.sh FOLDER: an arm64 Debian and a Python in it, to run under qemu-user; needs no root.
#
# FOLDER/root holds Debian's packages, unpacked; FOLDER/venv a virtual environment whose bin/python
# starts the emulator, with NumPy and what the tests need. Made from this machine's own package
# sources and with .venv's pip, the latter again when pyproject.toml asks for something else.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
python=$checkout/.venv/bin/python
packages="python3 libpython3-dev libstdc++6 libgomp1"  # the last is llama.cpp's
platforms=(manylinux_2_28_aarch64 manylinux_2_27_aarch64 manylinux_2_26_aarch64 manylinux_2_17_aarch64
  manylinux2014_aarch64)

# Debian's mirrors serve all architectures, which other distributions' and other vendors' do not.
debian_sources() {
  apt-get indextargets 'Created-By: Packages' 'Origin: Debian' \
    --format "deb [arch=arm64] \$(SITE) \$(RELEASE) \$(COMPONENT)" | sort -u
}

unpack_debian() {
  local root=$folder/root.partial state=$folder/apt
  rm -rf "$root" "$state"
  mkdir -p "$root" "$state"/{lists,cache,etc}/partial
  debian_sources >"$state/sources.list"
  if [ ! -s "$state/sources.list" ]; then
    echo "root.sh: found no package source of Debian; run apt-get update, or on another distribution" \
      "unpack an arm64 root with $packages into $folder/root, and write these names into" \
      "$folder/root/edgelm-packages" >&2
    exit 1
  fi
  : >"$state/status"
  local apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o APT::Sandbox::User="$(id -un)" -o Dir::State="$state" -o Dir::State::status="$state/status"
    -o Dir::Cache="$state/cache" -o Dir::Etc::SourceList="$state/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Debug::NoLocking=1)
  "${apt[@]}" update
  # shellcheck disable=SC2086  (names)
  "${apt[@]}" install --yes --download-only --no-install-recommends \
    $packages
  for package in "$state"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  echo "$packages" >"$root/edgelm-packages"
  rm -rf "$state" "$folder/root"
  mv "$root" "$folder/root"
}

# What pyproject.toml asks for, for an arm64 Linux.
requirements() {
  "$python" - "$1" <<'PY'
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

there = {"platform_machine": "aarch64", "python_version": sys.argv[1], "extra": "test"}
for requirement in map(Requirement, requires("edgelm")):
    if requirement.marker is None or requirement.marker.evaluate(there):
        requirement.marker = None
        print(requirement)
PY
}

make_venv() {
  local version venv=$folder/venv.partial
  version=$(basename "$(readlink "$folder/root/usr/bin/python3")" | sed 's/^python//')
  rm -rf "$venv"
  mkdir -p "$venv/bin"
  requirements "$version" >"$venv/requirements.txt"
  if cmp -s "$venv/requirements.txt" "$folder/venv/requirements.txt"; then return; fi
  rm -rf "$folder/venv"
  printf 'home = %s\ninclude-system-site-packages = false\n' "$folder/root/usr/bin" >"$venv/pyvenv.cfg"
  cp "$here/python" "$venv/bin/python"
  "$python" -m pip --disable-pip-version-check --quiet install --only-binary=:all: \
    "${platforms[@]/#/--platform=}" --python-version "$version" --implementation cp \
    --target "$venv/lib/python$version/site-packages" -r "$venv/requirements.txt"
  mv "$venv" "$folder/venv"
}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[ "$(cat "$folder/root/edgelm-packages" 2>/dev/null)" = "$packages" ] || unpack_debian
make_venv
