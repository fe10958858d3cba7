"""A results.json as `edgelm bench` might write it, with every section filled, without a run."""

from __future__ import annotations

import random

from edgelm.bench.cost import Cost
from edgelm.bench.decode import Decode, LlamaBench
from edgelm.bench.first_token import FirstToken
from edgelm.bench.limits import Limit, bound
from edgelm.bench.loading import Load
from edgelm.bench.machine import Machine
from edgelm.bench.memory import Memory, MemoryPoint
from edgelm.bench.noise import Noise, Process
from edgelm.bench.peers import Peer, PeerRow
from edgelm.bench.profiles import Scenario
from edgelm.bench.projection import project
from edgelm.bench.quantization import Quantization
from edgelm.bench.results import SCHEMA_VERSION, ModelResult, Results, Skipped
from edgelm.bench.stats import median_interval, paired_ratios, verdict
from edgelm.bench.subject import ModelInfo, Settings
from edgelm.bench.sustain import Sustain, SustainPoint
from edgelm.bench.threads import ThreadSetting
from edgelm.bench.timing import Times
from edgelm.bench.topology import Cluster, Core

LIMIT = Limit(2, "avx2", 30.5, 250.0, 60.0, 3.4, [29.8, 30.5, 30.1])
ONE_THREAD = Limit(1, "avx2", 21.0, 127.0, 30.5, 3.45, [20.5, 21.0, 20.9])
LENGTHS = (1, 2, 4, 8, 10, 16, 32, 50, 64, 128, 256, 512, 1024)


def info(name: str, *, n_bytes: int = 98_000_000, random_weights: bool = False) -> ModelInfo:
    return ModelInfo(
        name=name,
        title="Example",
        architecture="llama",
        file_bytes=n_bytes,
        quant="Q4_1+",
        tensor_types={"Q4_1": 210, "F32": 61},
        n_weights=134_515_008,
        bits_per_weight=8 * n_bytes / 134_515_008,
        n_layers=30,
        vocab_size=49152,
        n_ctx_train=8192,
        random_weights=random_weights,
        bytes_per_token=n_bytes,
        layer_macs=106_000_000,
        head_macs=28_000_000,
        kv_bytes_per_token=23040,
    )


INNER_GMAC_S = 400.0  # of the example's inner loops, faster than its whole prompts


class Maker:
    """Times about a mean, always the same ones."""

    def __init__(self) -> None:
        self._rng = random.Random(7)

    def times(self, ms: float, n: int = 5, spread: float = 0.06) -> Times:
        return Times([ms * (1 + abs(self._rng.gauss(0, spread))) for _ in range(n)])

    def first_token(self, m: ModelInfo, n: int, cached: int = 0, cold: bool = False) -> FirstToken:
        new = n - cached
        limit = bound(LIMIT, m.bytes_per_token, new * m.layer_macs + m.head_macs, 1.0)
        ms = (limit.memory_ms**2 + (1.9 * limit.compute_ms) ** 2) ** 0.5 / 0.78
        ms *= 2.3 if cold else 1.0
        prefill = self.times(ms)
        return FirstToken(
            n_tokens=n,
            n_cached=cached,
            state="cold" if cold else "warm",
            tokenize=self.times(0.02 + 0.003 * n),
            prefill=prefill,
            sample=self.times(0.09),
            total=self.times(ms + 0.11 + 0.003 * n),
            limit=bound(
                LIMIT,
                m.bytes_per_token,
                new * m.layer_macs + m.head_macs,
                prefill.median_ms,
            ),
        )

    def decode(self, m: ModelInfo, depth: int) -> Decode:
        n_bytes = m.bytes_per_token + depth * m.kv_bytes_per_token
        ms = 1e-6 * n_bytes / LIMIT.read_gb_s / 0.77
        token = self.times(ms, n=64, spread=0.05)
        token = Times([*token.samples_ms[:-1], 2.4 * ms])  # an interruption
        macs = m.layer_macs + m.head_macs
        return Decode(
            depth=depth,
            token=token,
            tok_s=1e3 / token.mean_ms,
            limit=bound(LIMIT, n_bytes, macs, token.median_ms),
        )

    def llama_bench(self, m: ModelInfo, test: str) -> LlamaBench:
        n = int(test[2:])
        at_once = test.startswith("pp")
        macs = n * m.layer_macs + (1 if at_once else n) * m.head_macs
        limit = bound(LIMIT, m.bytes_per_token * (1 if at_once else n), macs, 1.0)
        run = self.times(limit.limit_ms / 0.6)
        return LlamaBench(
            test=test,
            n_tokens=n,
            run=run,
            tok_s=1e3 * n / run.mean_ms,
            tok_s_std=12.5,
            limit=bound(LIMIT, m.bytes_per_token * (1 if at_once else n), macs, run.median_ms),
        )

    def load(self, state: str) -> Load:
        ms = 310.0 if state == "cold" else 120.0
        return Load(
            file_cache="cold" if state == "cold" else "warm",
            cached_share=[0.0 if state == "cold" else 1.0] * 3,
            load=self.times(ms, 3),
            to_first_token=self.times(ms + 260, 3),
            interpreter=self.times(18, 3),
            imports=self.times(140, 3),
            first_token=self.times(25, 3),
        )

    def sustain(self) -> Sustain:
        points = []
        for t in range(1, 61):
            slow = 1 - 0.25 * max(0, t - 20) / 40
            mhz = 3400 * slow
            points.append(
                SustainPoint(
                    t_s=float(t),
                    tok_s=240 * slow * (1 + self._rng.gauss(0, 0.02)),
                    mhz={"cpu0": mhz, "cpu1": mhz - 40},
                    celsius={"x86_pkg_temp": 45 + 0.6 * t},
                    core_mhz=mhz,
                )
            )
        return Sustain(
            seconds=60.0,
            first_tok_s=240.0,
            last_tok_s=182.0,
            points=points,
            token=self.times(4.6, 200),
            unavailable=[],
        )

    def peer_row(self, name: str, unit: str, n: int, ours_ms: float, factor: float) -> PeerRow:
        ours, theirs = self.times(ours_ms, 7), self.times(factor * ours_ms, 7)
        ratios = paired_ratios(theirs.samples_ms, ours.samples_ms)
        low, high = median_interval(ratios)
        limit = bound(LIMIT, 98e6, 134e6, ours.median_ms)
        return PeerRow(
            name=name,
            unit="tok/s" if unit == "tok/s" else "ms",
            n_tokens=n,
            depth=16 if name.startswith("decode") else 0,
            ours=ours,
            theirs=theirs,
            ratios=ratios,
            ratio=Times(ratios).median_ms,
            ratio_low=low,
            ratio_high=high,
            verdict=verdict(ratios),  # type: ignore[arg-type]
            limit=limit,
            their_share=limit.limit_ms / theirs.median_ms,
        )


def machine() -> Machine:
    cores = [Core(cpu, 3400.0, None, "performance", True, cpu) for cpu in range(2)]
    return Machine(
        processor="Example CPU @ 3.4 GHz",
        board=None,
        architecture="x86_64",
        system="Linux 6.1",
        virtual=True,
        features=["avx2", "fma", "f16c"],
        isas=["avx2", "scalar"],
        cores=cores,
        clusters=[Cluster("all", [0, 1], 3400.0)],
        usable_cores=2,
        memory_bytes=24 << 30,
        load_average=0.4,
        before=Noise(0.4, 0.08, 0.01, 0.0, [Process("browser", 0.16)], quiet=False),
        after=Noise(0.4, 0.01, 0.01, 0.0),
    )


def model_result(m: ModelInfo, make: Maker) -> ModelResult:
    return ModelResult(
        model=m,
        settings=Settings(2048, 2, 512, "f16", "avx2", None),
        first_token=[
            *(make.first_token(m, n) for n in LENGTHS),
            *(make.first_token(m, n, cached=n // 2) for n in (64, 256, 1024)),
            *(make.first_token(m, n, cold=True) for n in (16, 128)),
        ],
        decode=[make.decode(m, depth) for depth in (0, 512, 1024, 2048)],
        llama_bench=[make.llama_bench(m, test) for test in ("pp512", "tg128")],
        scenarios=[
            Scenario(
                profile="survey",
                prompt_tokens=50,
                generated_tokens=50,
                first_token=make.times(45.0),
                prefill_tok_s=1100.0,
                token=make.times(4.5, 49),
                tok_s=220.0,
                total=make.times(270.0),
            )
        ],
        load=[make.load("cold"), make.load("warm")],
        memory=Memory(
            weight_bytes=101 << 20,
            arena_bytes=17 << 20,
            kv_reserved_bytes=48 << 20,
            kv_used_bytes=45 << 20,
            rss_start_bytes=38 << 20,
            rss_steady_bytes=201 << 20,
            rss_peak_bytes=222 << 20,
            points=[
                MemoryPoint(n, (156 << 20) + 23040 * n, 23040 * n)
                for n in (0, 256, 512, 1024, 2048)
            ],
        ),
        cost=[
            Cost("prefill", 512, 0.4, 0.0015, None, "no RAPL: not shown", None, None, None, []),
            Cost("decode", 128, 0.6, 0.0094, "RAPL package-0", None, 0.11, 23.5, 9.0, []),
        ],
        sustain=make.sustain(),
        threads=[
            ThreadSetting("1 thread", 1, [0], make.times(700), 128, make.times(7.2, 32)),
            ThreadSetting("2 threads", 2, [0, 1], make.times(380), 128, make.times(4.4, 32)),
        ],
        suggestion="load('example.gguf', n_threads=2)",
    )


def example(name: str = "example-135m-q4_1.gguf", other: str = "example-135m-q8_0.gguf") -> Results:
    """Two files of one model, a peer, and all sections."""
    make = Maker()
    one = model_result(info(name), make)
    two = model_result(info(other, n_bytes=145_000_000, random_weights=True), make)
    peers = [
        Peer(
            model=name,
            random_weights=False,
            peer="llama.cpp",
            version="xllamacpp 2026.10",
            our_settings={"threads": "2", "kv": "f16"},
            their_settings={"threads": "2", "flash attention": "on"},
            unavailable=None,
            rows=[
                make.peer_row("prefill 128", "tok/s", 128, 79.0, 5.6),
                make.peer_row("prefill 512", "tok/s", 512, 320.0, 4.4),
                make.peer_row("decode 64", "tok/s", 1, 3.1, 2.1),
                make.peer_row("first token", "ms", 1, 14.0, 3.3),
                make.peer_row("load", "ms", 1, 120.0, 0.99),
            ],
        ),
        Peer(name, False, "openvino", "2026.4", {}, {}, "it cannot read Q5_0", []),
    ]
    quantization = [
        Quantization(
            model=model,
            quant=quant,
            random_weights=False,
            file_bytes=size,
            compression=ratio,
            text="prose.txt",
            n_tokens=1023,
            perplexity=ppl,
            bits_per_byte=ppl / 20,
            reference=None if kl is None else other,
            kl_nats=kl,
            kl_samples=[] if kl is None else [kl] * 3,
            top_agreement=None if kl is None else 0.91,
            first_token_ms=ms,
            token_ms=ms / 20,
        )
        for model, quant, size, ratio, ppl, kl, ms in (
            (other, "Q8_0", 145_000_000, 3.7, 14.2, None, 120.0),
            (name, "Q4_1+", 98_000_000, 5.5, 15.0, 0.06, 80.0),
            ("example-135m-q3_k_m.gguf", "Q3_K+", 93_000_000, 5.8, 19.1, 0.31, 95.0),
        )
    ]
    return Results(
        schema_version=SCHEMA_VERSION,
        created="2026-11-21T11:00:00Z",
        seconds=143.0,
        interrupted=False,
        command=["bench", name, other, "--against", "llama.cpp"],
        effort="default",
        profile=None,
        seed=0,
        versions={"edgelm": "0.1.0", "commit": "0123abcd", "Python": "3.11.2"},
        machine=machine(),
        limits=[ONE_THREAD, LIMIT],
        models=[one, two],
        quantization=quantization,
        peers=peers,
        projection=[
            *project(one.model, one.first_token, one.decode, INNER_GMAC_S),
            *project(two.model, two.first_token, two.decode, INNER_GMAC_S),
        ],
        skipped=[Skipped(other, "first_token", "prompt of 2048", "longer than n_ctx")],
        warnings=["Other processes used 8 % of the processors before the run: do not quote this."],
    )
