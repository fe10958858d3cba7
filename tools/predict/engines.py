"""Our kernels and llama.cpp's as arm64 programs, by the same compiler for the same tier."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulate import Program, run

from edgelm import hub

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
import llama_cpp_sdist  # noqa: E402

CACHE = hub.cache_folder() / "predict"


@dataclass(frozen=True)
class Compiler:
    """A cross compiler: its C and C++ commands, with what makes them compile for arm64 Linux."""

    name: str
    c: str
    cxx: str
    target: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Its own words."""
        return run([self.cxx, "--version"]).splitlines()[0]


COMPILERS = {
    "clang": Compiler("clang", "clang-19", "clang++-19", ("--target=aarch64-linux-gnu",)),
    "gcc": Compiler("gcc", "aarch64-linux-gnu-gcc-12", "aarch64-linux-gnu-g++-12"),
}

# llama.cpp's flags for the machines of a tier, as its builds for Android have them; where there are
# two, both compete: SVE is in the cores, but many phones switch it off.
MARCH = {
    "scalar": {"": "armv8-a"},
    "scalar_wide": {"": "armv8-a"},
    "neon": {"": "armv8-a"},
    "dotprod": {"": "armv8.2-a+dotprod+fp16"},
    "i8mm": {
        "": "armv8.6-a+dotprod+fp16+i8mm",
        "sve": "armv9-a+dotprod+fp16+i8mm+sve+sve2",
    },
}
_ACT = {"q4_1": "q8_1", "q5_1": "q8_1"}
# The repacked kernel that llama.cpp picks on a machine of each tier
# (ggml_repack_get_optimal_repack_type).
_REPACKED = {
    "dotprod": {
        "q4_0": "4x4", "q8_0": "4x4", "iq4_nl": "4x4", "mxfp4": "4x4",
        "q4_k": "8x4", "q5_k": "8x4", "q6_k": "8x4",
    },
    "i8mm": {
        "q4_0": "4x8", "q8_0": "4x8", "iq4_nl": "4x4", "mxfp4": "4x4",
        "q4_k": "8x8", "q5_k": "8x8", "q6_k": "8x8",
    },
}  # fmt: skip
# Types whose plain kernel makes 2 x 2 results at once with SMMLA.
_TWO_BY_TWO = {"q4_0", "q4_1", "q8_0", "q4_k", "q6_k"}


def build_ours(tier: str, quants: Sequence[str], compiler: Compiler) -> Program:
    """Our matmul of one tier for these types, by CMakeLists.txt's rules, and a call of it."""
    folder = ROOT / "build" / "predict" / compiler.name
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if cmake is None:
        raise RuntimeError("no cmake was found: `make build`, then run this with .venv/bin/python")
    _run(
        cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", "-DEDGELM_PYTHON=OFF",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu",
        f"-DCMAKE_CXX_COMPILER={compiler.cxx}",
    )  # fmt: skip
    units = [Path("csrc/kernels/units/activations.cc")]
    for path in sorted((ROOT / "csrc/kernels/units").glob("matmul_*.cc")):
        text = path.read_text()
        if any(re.search(rf"\b{quant}\b", text) for quant in quants):
            units.append(path.relative_to(ROOT))
    objects = [f"CMakeFiles/edgelm_kernels_{tier}.dir/{unit}.o" for unit in units]
    _run(cmake, "--build", folder, "--target", *objects)
    program = folder / f"ours_{tier}"
    _run(
        compiler.cxx, *compiler.target, "-std=c++20", "-O1", "-static", f"-DEDGELM_ISA={tier}",
        "-DUNITS=" + " ".join(f"X({unit.stem})" for unit in units), f"-I{ROOT / 'csrc'}",
        HERE / "ours.cc", *(folder / o for o in objects), "-o", program,
    )  # fmt: skip
    return Program(program)


def fetch_llama() -> Path:
    """The ggml folder of llama.cpp's sources, in the cache; fetched and checked the first time."""
    folder = CACHE / llama_cpp_sdist.SHA256[:16]
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=_made(CACHE)) as name:
            with tarfile.open(llama_cpp_sdist.download(Path(name))) as tar:
                for member in tar:
                    _, inside, path = member.name.partition("/vendor/llama.cpp/ggml/")
                    if inside and member.isfile() and ".." not in Path(path).parts:
                        source = tar.extractfile(member)
                        assert source is not None
                        out = Path(name, "ggml", path)
                        _made(out.parent)
                        out.write_bytes(source.read())
            Path(name, "ggml").rename(folder)
    return folder


def build_llama(march: str, compiler: Compiler) -> Program:
    """llama.cpp's ARM kernels for one -march, with its release's -O3, and a call of each."""
    ggml = fetch_llama()
    own = b"".join((HERE / name).read_bytes() for name in ("llama.cc", "llama.def"))
    key = hashlib.sha256(own + compiler.version.encode() + ggml.name.encode()).hexdigest()[:12]
    program = CACHE / f"llama-{march}-{compiler.name}-{key}"
    flags = [
        *compiler.target, "-O3", "-DNDEBUG", f"-march={march}", "-w", "-ffunction-sections",
        "-fdata-sections", "-D_GNU_SOURCE", '-DGGML_VERSION="0"', '-DGGML_COMMIT="0"',
        *(f"-I{ggml / folder}" for folder in ("include", "src", "src/ggml-cpu")),
    ]  # fmt: skip
    names = ("arch/arm/quants.c", "quants.c", "arch/arm/repack.cpp", "repack.cpp")
    sources = [*(ggml / "src/ggml-cpu" / name for name in names), HERE / "llama.cc"]
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=_made(CACHE)) as name:
            objects = [f"{name}/{i}.o" for i in range(len(sources))]
            for source, out in zip(sources, objects, strict=True):
                by = (compiler.c, "-std=gnu11")
                if source.suffix != ".c":
                    by = (compiler.cxx, "-std=gnu++17")
                _run(*by, *flags, "-c", source, "-o", out)
            # What no kernel reaches is left out, with what it would need of the rest of ggml.
            linked = Path(name, "llama")
            _run(
                compiler.cxx, *compiler.target, "-static", "-Wl,--gc-sections", *objects, "-lm",
                "-o", linked,
            )  # fmt: skip
            linked.rename(program)
    return Program(program)


def llama_kernels(tier: str, quant: str, one_token: bool) -> list[tuple[str, bool]]:
    """What llama.cc calls the kernels for this type on machines of a tier, and which are plain."""
    act = _ACT.get(quant, "q8_K" if quant.endswith("_k") or quant == "iq4_xs" else "q8_0")
    name = re.sub("_k$", "_K", quant)
    kernels = [(f"{name}_{act}", True)]
    if tier == "i8mm" and quant in _TWO_BY_TWO and not one_token:
        kernels.append((f"{name}_{act}_x2", True))
    shape = _REPACKED.get(tier, {}).get(quant)
    return kernels + ([(f"{name}_{shape}_{act}", False)] if shape else [])


def _run(*command: object) -> None:
    run([str(part) for part in command])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
