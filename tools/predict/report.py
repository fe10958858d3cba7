"""What was predicted, as Markdown for docs/predicted_speed.md and as shares for the benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from cores import A72, A76, A710, TIERS, Core
from rates import FEW, MANY, ONE, SIXTEEN, Rate, Shape


@dataclass(frozen=True)
class Prediction:
    """Our rate in one case, llama.cpp's where it was asked for, and the core's peak."""

    tier: str
    core: Core
    quant: str
    shape: Shape
    peak: float
    ours: Rate
    llama: Rate | None

    @property
    def share(self) -> float:
        """Of the peak that the tier's multiply-adds have on the core."""
        return self.ours.macs / self.peak

    @property
    def ratio(self) -> float:
        """Of our rate to llama.cpp's."""
        return self.ours.macs / self.llama.macs if self.llama else float("nan")

    def __str__(self) -> str:
        text = f"{self.ours.macs:.1f} ({100 * self.share:.0f} %)"
        if self.llama:
            text += f" / {self.llama.macs:.1f} = {self.ratio:.2f}"
        return text


# What the kernels are to reach with clang.
RATIOS = {
    ("neon", A72): {"q4_k": 1.8},
    ("dotprod", A76): {"q4_k": 1.5, "q6_k": 1.9, "q3_k": 5.0, "q8_0": 1.2},
    ("i8mm", A710): {"q4_k": 1.9, "q6_k": 2.8, "q3_k": 8.0, "q8_0": 1.4},
}
SHARES = {("dotprod", A76): {"q4_k": 0.65}, ("i8mm", A710): {"q4_k": 0.55, "q3_k": 0.80}}
ONE_TOKEN = {"q3_k": 1.5, "q6_k": 1.5}  # and no other type slower

HEAD = """# Predicted speed on ARM

**A prediction**: no ARM machine was at hand. `tools/predict` made this file; do not edit it.

The inner loops are compiled for arm64 and run under qemu-user, which logs every instruction. What
was executed, loops as often as they ran, epilogues and spills included, goes to llvm-mca 19 as one
straight line. A figure is int8 multiply-adds a cycle on one core: ours (in brackets the share of
what the tier's widest multiply-add, SMLAL, SDOT or SMMLA, could do there) / llama.cpp's = ratio.

- llama.cpp's figure is that of the kernel that it picks on such a machine or, where that is faster,
  of its plain one, in builds with SVE and without; by the same compiler as ours, at -O3.
- *Many tokens* is what the 17th to 32nd token cost: unpacking for many tokens, done once, is left
  out. Other rows are whole calls. Inputs are 512 wide. i8mm pairs activations once for a call's
  rows: for 64, as the engine mostly hands out; llama.cpp's kernels get theirs prepared.
- To make it again: `.venv/bin/python tools/predict --write docs/predicted_speed.md --json
  python/edgelm/bench/predicted.json`, with `--compiler clang` in half the time. What was
  simulated before is kept below ~/.cache/edgelm.

How far to trust it: every load hits the first-level cache, every branch is foreseen. LLVM 19 has no
model of most phones' cores: Cortex-A57's stands for A72, Neoverse N1's for A76 and A78, V1's for
X1, N2's for A710, V2's for X3, taking as many operations a cycle as the core decodes (3, 4, 8, 5
and 8). Against one published pair on a Raspberry Pi 5, reality was 0.73 to 0.89 of such a
prediction, for both engines. Of in-order cores (A53, A55, A510) believe the ratios only.
"""


WHY = """
What bounds them: a float scale for every 32 activations costs 2 vector operations (to multiply the
weights' scale, then the activations') beside 4 SMMLA or 8 SDOT. On a core with two vector pipes
that leaves 67 % of SMMLA's peak, so Q3_K cannot reach 80 %; Q4_K's minimums leave 57 %, Q6_K's
scales for every 16 weights 50 %. One token is bound by decoding: a load of a vector is two
operations of four a cycle on the N1 model.
"""


def markdown(found: dict[str, list[Prediction]]) -> str:
    """The whole document, of predictions by compiler."""
    text = f"{HEAD}\nBoth engines compiled by: {'; '.join(found)}.\n"
    for compiler, predictions in found.items():
        text += f"\n## {compiler}\n"
        for tier in TIERS:
            of_tier = [p for p in predictions if p.tier == tier]
            for shape in (MANY, ONE):
                text += "\n" + _table(of_tier, f"{tier}, {shape.name}", shape)
            repacked = {p.quant for p in of_tier if p.llama and p.llama.is_repacked}
            names = ", ".join(sorted(repacked)) or "no type"
            text += f"\nllama.cpp repacks {names} here.\n"
    first, predictions = next(iter(found.items()))
    text += f"\n## Our tiers by tokens, {first}\n"
    for tier in TIERS:
        for shape in (FEW, SIXTEEN):
            text += "\n" + _table(
                [p for p in predictions if p.tier == tier], f"{tier}, {shape.name}", shape
            )
    text += f"\n## Goals, {first}\n\n" + "".join(f"- {line}\n" for line in bars(predictions))
    return text + WHY


def _table(predictions: list[Prediction], title: str, shape: Shape) -> str:
    cells = {(p.quant, p.core.name): str(p) for p in predictions if p.shape is shape}
    cores = list(dict.fromkeys(core for _, core in cells))
    lines = [f"| {title} | " + " | ".join(cores) + " |", "|---" * (len(cores) + 1) + "|"]
    for quant in dict.fromkeys(quant for quant, _ in cells):
        lines.append(f"| {quant} | " + " | ".join(cells[quant, core] for core in cores) + " |")
    return "\n".join(lines) + "\n"


def bars(predictions: list[Prediction]) -> Iterator[str]:
    """Each goal that these predictions speak of: what was asked, what was found."""
    for p in predictions:
        case = f"{p.tier} on {p.core.name}, {p.quant}, {p.shape.name}"
        asked = RATIOS.get((p.tier, p.core), {}).get(p.quant)
        if p.shape is MANY and asked and p.llama:
            yield f"{case}: {p.ratio:.2f} of llama.cpp, {_verdict(p.ratio, asked)}"
        asked = SHARES.get((p.tier, p.core), {}).get(p.quant)
        if p.shape is MANY and asked:
            yield f"{case}: {100 * p.share:.0f} % of the peak, {_verdict(p.share, asked)}"
        if p.shape is ONE and p.llama:
            asked = ONE_TOKEN.get(p.quant, 1.0)
            yield f"{case}: {p.ratio:.2f} of llama.cpp, {_verdict(p.ratio, asked)}"


def _verdict(found: float, asked: float) -> str:
    return f"goal {asked:g}" + (": reached" if found >= asked else ": **missed**")


READ_ME = (
    "Shares of a core's own int8 peak (chips.json: mac_cycle) that edgelm's inner loops are "
    "predicted to reach, by tier, core and type: llvm-mca 19 on the instructions they execute. A "
    "prediction, never a measurement: on a Raspberry Pi 5, reality was 0.73 to 0.89 of one."
)


def shares(compiler: str, predictions: list[Prediction]) -> str:
    """The benchmark's predicted.json: shares of the peak by tokens, tier, core and type."""
    told: dict[str, object] = {"read_me": READ_ME, "made_by": f"tools/predict, {compiler}"}
    for shape in (MANY, ONE):
        tiers: dict[str, dict[str, dict[str, float]]] = {}
        for p in predictions:
            if p.shape is shape:
                types = tiers.setdefault(p.tier, {}).setdefault(p.core.name, {})
                types[p.quant.upper()] = round(p.share, 3)
        told[shape.name] = tiers
    return json.dumps(told, indent=1) + "\n"
