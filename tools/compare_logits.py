"""Whether two machines, or two ISAs, run a model alike: within what rounding does to its logits.

    python tools/compare_logits.py run MODEL.gguf OUT.npz        on each machine, for EDGELM_ISA
    python tools/compare_logits.py check MODEL.gguf ONE.npz OTHER.npz ...   against ONE

`run` takes one of llama.cpp's greedy continuations of tests/golden: a part in prefill, then token
by token; it also generates a few tokens of its own. `check` derives its bound from the formats that
matmul inputs are rounded to, with the NumPy reference, which is no engine.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "smollm2_continuations.json"
PROMPT = "The capital of France is"
LIMITS = (127, 32767)  # of int8 and int16 inputs
N_PREFILLED, N_DECODED, N_GENERATED = 12, 4, 3  # tokens of the continuation; of an own one

Floats = NDArray[np.float32]


def text() -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of llama.cpp's greedy continuation."""
    (found,) = (c for c in json.loads(GOLDEN.read_text()) if c["prompt"] == PROMPT)
    return found["prompt_ids"], found["ids"]


def run(model_path: Path, out: Path) -> None:
    """Write logits (T, V) and what computed them; print what was generated."""
    import edgelm
    from edgelm import _core

    prompt, rest = text()
    ids = prompt + rest[:N_PREFILLED]
    with edgelm.load(model_path, n_ctx=64, n_parallel=1) as model:
        with model.session() as session:
            rows = [*session.prefill(ids, all_logits=True)]
            rows += [session.decode(i) for i in rest[N_PREFILLED:][:N_DECODED]]
        generated = model.generate(PROMPT, max_tokens=N_GENERATED, temperature=0)
    assert generated.text.startswith(" Paris"), generated.text
    label = f"{_core.active_isa()} on {platform.machine()}"
    print(f"{model_path.name}, {label}: {PROMPT + generated.text!r}")
    np.savez(out, logits=np.stack(rows), label=label, limit=limit_of(model_path))


def limit_of(model_path: Path) -> int:
    """The greatest integer that the active ISA rounds inputs of the file's matrices to."""
    from edgelm import _core
    from edgelm.gguf import open_gguf

    x = np.linspace(-1, 1, 256 << 10, dtype=np.float32).reshape(256, -1).T.copy()
    x[:, ::32] = 1  # the greatest of every block
    found = set()
    for quant in {t.type.lower() for t in open_gguf(model_path).tensors} - {"f32"}:
        step = np.diff(np.unique(_core.quantize(_core.active_isa(), quant, x))).min()
        found.add(min(LIMITS, key=lambda limit: abs(1 / limit - step)))
    return min(found)


def changes(model_path: Path) -> tuple[dict[int, float], float]:
    """By float64 NumPy, the RMS of what rounding changes in the logits of the text, for each limit;
    and of what a fault changes.

    Rounded are the matmul inputs, to integers up to the limit with a scale for every 32, and the
    cache's keys and values, to f16; sums in float32 err by a hundredth of that. The fault: 16 rows
    of one of the model's 210 matrices are zeros.
    """
    import gguf
    from kl_price import Rounded

    from edgelm.arch import build
    from edgelm.gguf import open_gguf
    from edgelm.graph import Graph
    from edgelm.meta import Meta
    from edgelm.reference import weights_by_name
    from edgelm.weights import Weights

    file = open_gguf(model_path)
    graph = Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph)))
    tensors = {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type)
        for t in gguf.GGUFReader(model_path).tensors
    }
    prompt, rest = text()
    ids = prompt + rest[: N_PREFILLED + N_DECODED]
    exact = Rounded(graph, weights_by_name(tensors), kv_dtype=np.float64).run(ids)["logits"]
    model = Rounded(graph, weights_by_name(tensors), kv_dtype=np.float16)
    by_limit = {}
    for limit in LIMITS:
        model.rule = lambda quant, name, limit=limit: (32, limit)
        by_limit[limit] = rms(model.run(ids)["logits"] - exact)
    down = tensors["blk.0.ffn_down.weight"].copy()
    down[16:32] = 0
    faulty = Rounded(graph, weights_by_name({**tensors, "blk.0.ffn_down.weight": down}))
    return by_limit, rms(faulty.run(ids)["logits"] - exact)


def rms(x: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def check(model_path: Path, paths: list[Path]) -> bool:
    """Print each file's distance from the first one; whether all are within the bound.

    An engine's logits are the exact ones plus what its rounding changes; so by the triangle
    inequality two engines differ by the sum of both changes at most. That a fault would be outside
    the widest bound is checked, too. One ISA's code (scalar's, where machines differ) does the same
    IEEE operations everywhere, so its logits must be the same bits.
    """
    change, fault = changes(model_path)
    one, *others = (dict(np.load(path)) for path in paths)
    first_of = {str(one["label"]).split()[0]: one}
    widest = 2 * max(change.values())
    print(f"{model_path.name}: a fault would change {fault:.4f} RMS, rounding {widest:.4f} at most")
    passed = fault > widest
    for other in others:
        bound = change[int(one["limit"])] + change[int(other["limit"])]
        distance = rms(other["logits"] - one["logits"])
        passed &= distance <= bound
        print(
            f"{model_path.name}: {other['label']} and {one['label']} differ by {distance:.4f} RMS; "
            f"rounding allows {bound:.4f}{'' if distance <= bound else ': FAILED'}"
        )
        twin = first_of.setdefault(str(other["label"]).split()[0], other)
        if twin is not other:
            n = np.count_nonzero(twin["logits"].view(np.uint32) != other["logits"].view(np.uint32))
            passed &= n == 0
            print(
                f"{model_path.name}: {other['label']} and {twin['label']} differ in {n:,} of "
                f"{other['logits'].size:,} logits; they must be the same{': FAILED' if n else ''}"
            )
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("run")
    one.add_argument("model", type=Path)
    one.add_argument("out", type=Path)
    both = commands.add_parser("check")
    both.add_argument("model", type=Path)
    both.add_argument("logits", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "run":
        run(args.model, args.out)
    elif not check(args.model, args.logits):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
