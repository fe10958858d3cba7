"""Kernel units export one symbol and no weak one: the check that the build runs on all objects."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import _core as core

SCRIPT = Path(__file__).parents[2] / "cmake" / "check_units.cmake"
UNIT = 'extern "C" void edgelm_test_unit() {}\n'


def tool(*names):
    """The first of these programs, beside this Python or on the path."""
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = next((path for name in names if (path := shutil.which(name, path=folders))), None)
    assert found, f"the tests need one of {names}, as building edgelm does"
    return found


def check(tmp_path, source):
    """Compile one unit for the ISA "test" and run the build's check on its object."""
    unit = tmp_path / "unit.cc"
    unit.write_text(source)
    compiler = os.environ.get("CXX", "").split() or [tool("c++", "g++", "clang++")]
    subprocess.run([*compiler, "-std=c++20", "-O2", "-c", unit.name], cwd=tmp_path, check=True)
    settings = [f"-DNM={tool('nm', 'llvm-nm')}", "-DISA=test", "-DOBJECTS=unit.o"]
    command = [tool("cmake"), *settings, "-P", str(SCRIPT)]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_a_sound_unit_passes(tmp_path):
    done = check(tmp_path, "static inline int f() { return 1; }\n" + UNIT + "int g();\nint h();\n")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("inline int f() { return 1; }\nint (*p())() { return f; }", "_Z1fv is weak"),
        ("template <class T> T g(T x) { return x; }\ntemplate int g(int);", "is weak"),
        ("inline int table[4] = {1};\nint* q() { return table; }", "table is weak"),
        ("int f() { return 1; }", "exports _Z1fv; only edgelm_test_unit may be"),
        ("int shared = 1;", "exports shared"),
    ],
    ids=["inline", "template", "variable", "function", "data"],
)
def test_an_unsound_unit_is_named(tmp_path, extra, message):
    """Seeded faults: what would let the linker run one ISA's code on a machine without it."""
    done = check(tmp_path, f"{extra}\n{UNIT}")
    assert done.returncode != 0
    assert "Kernel units of test" in done.stderr
    assert message in done.stderr


def test_a_unit_must_define_its_own_name(tmp_path):
    done = check(tmp_path, 'extern "C" void edgelm_other_unit() {}\n')
    assert "exports edgelm_other_unit" in done.stderr
    assert "does not define edgelm_test_unit" in done.stderr


def exported(library):
    """Names that a shared library offers to others."""
    options = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    listing = subprocess.check_output([tool("nm", "llvm-nm"), *options, library], text=True)
    return [line.split()[-1] for line in listing.splitlines()]


def test_the_extension_exports_one_symbol():
    assert exported(core.__file__) == ["_" * (sys.platform == "darwin") + "PyInit__core"]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes no version script")
def test_without_the_version_script_more_is_exported(tmp_path):
    """Seeded fault: what the list above would show."""
    (tmp_path / "two.cc").write_text('extern "C" void PyInit__core() {}\nvoid other() {}\n')
    compiler = os.environ.get("CXX", "").split() or [tool("c++", "g++", "clang++")]
    script = f"-Wl,--version-script={SCRIPT.with_name('exports.map')}"
    for options, names in ([], {"PyInit__core", "_Z5otherv"}), ([script], {"PyInit__core"}):
        command = [*compiler, "-shared", "-fPIC", "two.cc", "-o", "two.so", *options]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert set(exported(tmp_path / "two.so")) == names
