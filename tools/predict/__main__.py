"""Predicts the speed of our ARM kernels, and of llama.cpp's beside them, without an ARM machine.

    .venv/bin/python tools/predict                                    all tiers, cores and types
    .venv/bin/python tools/predict --tier dotprod --type q4_k,q6_k    a part
    .venv/bin/python tools/predict --tier dotprod --core Cortex-A710  a tier on another core
    .venv/bin/python tools/predict --write docs/predicted_speed.md \\
        --json python/edgelm/bench/predicted.json                     what is committed

Needs clang-19, llvm-19, g++-12-aarch64-linux-gnu (for its libraries, too) and qemu-user-static, as
Debian names them. The first run fetches llama.cpp's sources into ~/.cache/edgelm.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import report
from cores import CORES, TIERS, Core
from engines import CACHE, COMPILERS, MARCH
from rates import FEW, MANY, ONE, SIXTEEN, Shape, Tier
from report import Prediction
from simulate import Simulator

TYPES = (
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4",
    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs",
)  # fmt: skip


def predict(tier: Tier, cores: Sequence[Core], quants: Sequence[str]) -> list[Prediction]:
    """Every case of one tier, printed as it is known; the work is done on all processors."""

    def one(case: tuple[Core, str, Shape]) -> Prediction:
        core, quant, shape = case
        llama = tier.llama(quant, shape, core) if shape in (MANY, ONE) else None
        ours = tier.ours(quant, shape, core)
        return Prediction(tier.name, core, quant, shape, tier.peak(core), ours, llama)

    done = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for p in pool.map(one, itertools.product(cores, quants, (MANY, SIXTEEN, FEW, ONE))):
            beside = f"  {p.llama.kernel}" if p.llama else ""
            print(
                f"{p.tier} {p.core.name:11} {p.quant:6} {p.shape.name:11} {p}{beside}", flush=True
            )
            done.append(p)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tier", default=",".join(TIERS), help="neon, dotprod, i8mm or several")
    parser.add_argument("--core", help="names as in cores.py; else those of the tier")
    parser.add_argument("--type", default=",".join(TYPES), help="q4_k or several")
    parser.add_argument("--compiler", default="clang,gcc", help="clang, gcc or both")
    parser.add_argument("--ours", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--write", type=Path, help="the document that holds it all")
    parser.add_argument("--json", type=Path, help="shares of the peak, with the first compiler")
    args = parser.parse_args()
    tiers, quants, compilers = (x.split(",") for x in (args.tier, args.type, args.compiler))
    cores = args.core.split(",") if args.core else []
    known: tuple[tuple[list[str], Collection[str]], ...] = (
        (tiers, MARCH if cores else TIERS),
        (quants, TYPES),
        (compilers, COMPILERS),
        (cores, CORES),
    )
    for names, all_names in known:
        for name in names:
            if name not in all_names:
                parser.error(f"no {name} among {', '.join(all_names)}")
    whole = (set(tiers), set(quants)) == (set(TIERS), set(TYPES)) and not cores and not args.ours
    if (args.write or args.json) and not whole:
        parser.error("--write and --json are of all tiers, cores and types, and of both engines")
    simulator = Simulator(CACHE)
    found: dict[str, list[Prediction]] = {}
    for compiler in map(COMPILERS.__getitem__, compilers):
        found[compiler.version] = []
        for tier in tiers:
            built = Tier(tier, quants, compiler, simulator, not args.ours)
            on = [CORES[c] for c in cores] or TIERS[tier]
            found[compiler.version] += predict(built, on, quants)
    version, first = next(iter(found.items()))
    print(*report.bars(first), sep="\n")
    if args.write:
        args.write.write_text(report.markdown(found))
    if args.json:
        args.json.write_text(report.shares(version, first))


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"tools/predict: {error}")
