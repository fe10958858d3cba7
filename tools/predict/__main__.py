"""Predicts the speed of our ARM kernels, and of llama.cpp's beside them, without an ARM machine.

    .venv/bin/python tools/predict                                    all tiers, cores and types
    .venv/bin/python tools/predict --tier dotprod --type q4_k,q6_k    a part
    .venv/bin/python tools/predict --tier dotprod --core cortex-a710  a tier on another core

Needs clang-19 and llvm-19 (or --compiler gcc: g++-12-aarch64-linux-gnu), libstdc++ and glibc for arm64 and
qemu-user-static, as Debian names them. The first run fetches llama.cpp's sources into ~/.cache/edgelm.
"""

from __future__ import annotations

import argparse
import sys

from cores import CORES, TIERS
from engines import CACHE, COMPILERS
from rates import FEW, MANY, ONE, Tier
from simulate import Simulator

TYPES = (
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4",
    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tier", default=",".join(TIERS), help="neon, dotprod, i8mm or several")
    parser.add_argument("--core", default="", help="names as in cores.py; else those of the tier")
    parser.add_argument("--type", default=",".join(TYPES), help="q4_k or several")
    parser.add_argument("--compiler", choices=COMPILERS, default="clang")
    parser.add_argument("--ours", action="store_true", help="leave llama.cpp out")
    args = parser.parse_args()
    simulator = Simulator(CACHE)
    for name in args.tier.split(","):
        tier = Tier(name, args.compiler, simulator)
        cores = [CORES[c] for c in args.core.split(",")] if args.core else TIERS[name]
        for core in cores:
            peak = tier.peak(core)
            print(f"\n{name} on {core.name}, peak {peak:.1f} multiply-adds a cycle")
            for quant in args.type.split(","):
                line = [f"{quant:7}"]
                for shape in (MANY, FEW, ONE):
                    ours = tier.ours(quant, shape, core)
                    line.append(f"{shape.name} {ours.macs:5.1f} ({ours.macs / peak:4.0%})")
                    if shape is not FEW and not args.ours:
                        llama = tier.llama(quant, shape, core)
                        line.append(f"/ {llama.macs:5.1f} {llama.kernel} = {ours.macs / llama.macs:.2f}")
                print(*line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
