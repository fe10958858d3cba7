"""What pip prints where edgelm cannot be compiled, and what a package of it declares."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
ADDRESS = "https://github.com/edgelm/edgelm"


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """What a source install prints on a machine without a compiler."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += [f"--wheel-dir={folder}", f"--config-settings=build-dir={folder}/build", str(ROOT)]
    variables = {name: text for name, text in os.environ.items() if name not in ("CC", "CXX")}
    done = subprocess.run(
        command, env={**variables, "PATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "advice",
    [
        "needs a C++20 compiler (g++ 11 or clang 14, or newer)",
        "sudo apt install g++ python3-dev",
        "pkg install clang",
    ],
)
def test_an_install_without_a_compiler_says_what_to_install(failed, advice):
    assert advice in failed


def test_no_compiler_is_asked_for_by_name(failed):
    """Python's own may be g++ where only clang is installed: CMake looks for any."""
    assert "No CMAKE_CXX_COMPILER could be found" in failed, failed
    assert "g++" not in failed.partition("edgelm was not built")[0], failed


def test_the_package_carries_its_licence():
    metadata = importlib.metadata.metadata("edgelm")
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    carried = importlib.metadata.distribution("edgelm").read_text("licenses/LICENSE")
    assert carried == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert carried.startswith("MIT License\n\nCopyright (c) 2026 the edgelm authors")


def test_the_package_names_one_address():
    addresses = importlib.metadata.metadata("edgelm").get_all("Project-URL")
    assert {entry.partition(", ")[0] for entry in addresses} == {"Homepage", "Issues", "Changelog"}
    assert all(entry.partition(", ")[2].startswith(ADDRESS) for entry in addresses)
