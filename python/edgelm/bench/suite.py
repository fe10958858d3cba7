"""The whole run: every section of every model, then the table of files, then the peers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np

from ..gguf import open_gguf
from ..hub import Progress, Step
from ..meta import Meta
from . import (
    cost,
    decode,
    first_token,
    limits,
    loading,
    machine,
    memory,
    noise,
    peers,
    profiles,
    projection,
    quantization,
    sustain,
    threads,
)
from .budget import Budget, Section
from .limits import Limit
from .results import SCHEMA_VERSION, ModelResult, Results
from .run import Run
from .stats import spread
from .subject import Subject
from .topology import fast_cpus

Effort = Literal["quick", "default", "full"]
SECTIONS = (
    *("first_token", "decode", "llama_bench", "cost", "load", "memory", "threads"),
    *("quantization", "peers"),
)
PROFILES: dict[str | None, tuple[str, ...]] = {
    "phone": ("scenarios", "cost", "load", "memory", "peers"),
    "survey": ("scenarios", "cost", "peers"),
    "llama-bench": ("llama_bench", "peers"),
}
# Of a model; what is not in it is the start, the look at the noise and the report.
SECONDS: dict[Effort, float | None] = {"quick": 52.0, "default": 280.0, "full": None}
WEIGHTS = {
    "first_token": 28,
    "decode": 20,
    "llama_bench": 15,
    "scenarios": 70,
    "cost": 6,
    "peers": 100,  # each
    "cold": 8,
    "load": 10,
    "memory": 7,
    "threads": 10,
    "quantization": 6,
}  # in the order in which they run
N_CTX = 2304  # the greatest depth, and the tokens behind it
QUANTIZATION_CHUNKS: dict[Effort, int] = {"quick": 1, "default": 2, "full": 1000}
QUICK_ROWS = ("prefill 128", "decode 32", "first token")  # against peers
PEER_ROUNDS: dict[Effort, int] = {"quick": 5, "default": 5, "full": 9}  # if there is time
MAX_SPREAD = 0.1


@dataclass
class Plan:
    """What to measure, and how.

    only: sections, of SECTIONS; all of the profile's if empty.
    rows: of peers, by the start of their names; all if empty.
    rounds: of peers, however long they take; None is as many as there is time for.
    command: as it goes into the results.
    """

    paths: Sequence[Path]
    effort: Effort = "default"
    profile: str | None = None
    sustain_s: float | None = None
    suggest: bool = False
    n_ctx: int | None = None
    n_threads: int | None = None
    n_batch: int = 512
    kv_type: str = "f16"
    seed: int = 0
    against: Sequence[str] = ()
    only: Sequence[str] = ()
    rows: Sequence[str] = ()
    rounds: int | None = None
    command: Sequence[str] = ()

    @property
    def seconds(self) -> float | None:
        """For one model, `sustain_s` and given `rounds` aside; None is as long as it takes."""
        return SECONDS[self.effort]


def measure(
    plan: Plan,
    progress: Progress,
    keep: Callable[[Results], object] = lambda results: None,
) -> Results:
    """Run the plan. `keep` is called with what there is after every section, and at the end.

    Ctrl-C ends it early: the results then say so, and hold what was measured until then.
    """
    began = time.monotonic()
    progress(Step("machine", 0, 1))
    results = Results(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=0.0,
        interrupted=False,
        command=list(plan.command),
        effort=plan.effort,
        profile=plan.profile,
        seed=plan.seed,
        versions=versions(),
        machine=machine.describe(),
        limits=[],
    )
    progress(Step("machine", 1, 1))

    def save() -> None:
        results.seconds = time.monotonic() - began
        keep(results)

    suite = _Suite(plan, results, progress, save)
    try:
        for path in plan.paths:
            if not results.interrupted:
                suite.model(path)
        if not results.interrupted:
            suite.files()
        if not results.interrupted:
            results.machine.after = noise.look()
    except KeyboardInterrupt:
        results.interrupted = True
    results.warnings = warnings(results)
    save()
    return results


@dataclass
class _Suite:
    """The sections, in the order of their worth: an interrupted run has the best of it."""

    plan: Plan
    results: Results
    progress: Progress
    save: Callable[[], object]
    scoring_s: dict[Path, float] = field(default_factory=dict)
    spare_s: float = 0.0

    def model(self, path: Path) -> None:
        """Every section of one model."""
        plan = self.plan
        budget = Budget(plan.seconds, self.weights())
        run = Run(budget, progress=self.progress, seed=plan.seed, model=path.name)
        cpus = self.cpus()
        n_threads = plan.n_threads
        if n_threads is None and cpus is not None:
            n_threads = min(profiles.PHONE_THREADS, len(cpus))
        with bound_to(cpus):
            self.progress(Step(f"{path.name}: load", 0, 1))
            with Subject(
                path,
                n_ctx=self.n_ctx(path),
                n_threads=n_threads,
                n_batch=plan.n_batch,
                kv_type=plan.kv_type,
                cpus=cpus,
            ) as subject:
                self.progress(Step(f"{path.name}: load", 1, 1))
                result = ModelResult(subject.info, subject.settings)
                self.results.models.append(result)
                limit = self.limit(subject.settings.n_threads)
                self.within(run, subject, result, limit)
                self.scoring_s[path] = quantization.expected_s(subject, self.chunks)
            self.apart(run, subject, result, limit)
        self.spare_s += (plan.seconds or 0.0) - budget.elapsed
        self.results.skipped += run.skipped
        self.results.interrupted |= run.interrupted
        self.results.projection += projection.project(
            result.model,
            result.first_token,
            result.decode,
            limits.inner_gmac_s(result.model.quant, result.settings),
        )
        self.save()

    def within(self, run: Run, subject: Subject, result: ModelResult, limit: Limit) -> None:
        """What is measured in this process, with the model loaded."""
        plan = self.plan
        full, quick = plan.effort == "full", plan.effort == "quick"
        if self.wants("first_token"):
            result.first_token = first_token.measure(run, subject, limit, full=full, quick=quick)
            self.save()
        if self.wants("decode"):
            result.decode = decode.measure(run, subject, limit, full=full, quick=quick)
            self.save()
        if self.wants("llama_bench"):
            result.llama_bench = decode.llama_bench(run, subject, limit)
            self.save()
        if self.wants("scenarios") and plan.profile is not None:
            rounds = 1 if quick else 3
            result.scenarios = profiles.measure(run, subject, plan.profile, rounds)
            self.save()
        if self.wants("cost"):
            result.cost = cost.measure(run, subject, seconds=1.0 if quick else 3.0)
            self.save()
        if plan.sustain_s is not None and not run.interrupted:
            result.sustain = sustain.measure(run, subject, plan.sustain_s)
            self.save()

    def apart(self, run: Run, subject: Subject, result: ModelResult, limit: Limit) -> None:
        """What is measured in processes of their own, the model here being freed."""
        plan = self.plan
        full, quick = plan.effort == "full", plan.effort == "quick"
        for peer in plan.against:
            if self.wants("peers") and not run.interrupted:
                self.peer(run, subject, limit, peer)
                self.save()
        if self.wants("first_token"):
            result.first_token += first_token.measure_cold(
                run, subject, limit, full=full, quick=quick
            )
            self.save()
        if self.wants("load"):
            result.load = loading.measure(run, subject, 1 if quick else 3)
            self.save()
        if self.wants("memory"):
            longest = subject.settings.n_ctx if full else 512 if quick else 2048
            result.memory = memory.measure(run, subject, longest=longest)
            self.save()
        if self.wants("threads") or plan.suggest:
            result.threads = threads.measure(run, subject, self.results.machine)
            for setting in result.threads:
                self.limit(setting.n_threads)
            if plan.suggest and result.threads:
                memory_bytes = self.results.machine.memory_bytes
                result.suggestion = threads.suggestion(result.threads, subject, memory_bytes)

    def peer(self, run: Run, subject: Subject, limit: Limit, peer: str) -> None:
        """One other engine."""
        plan = self.plan
        asked_for = plan.rounds is not None
        rounds = plan.rounds or PEER_ROUNDS[plan.effort]
        only = plan.rows or (QUICK_ROWS if plan.effort == "quick" else ())
        time_left = Section(run.budget, None) if asked_for else run.budget.section(peer)
        with run.budget.paused() if asked_for else nullcontext():
            found = peers.measure(
                run, subject, limit, peer, only=only, rounds=rounds, time_left=time_left
            )
        self.results.peers.append(found)

    @property
    def chunks(self) -> int:
        """Of the text that the quantization table scores."""
        return QUANTIZATION_CHUNKS[self.plan.effort]

    def files(self) -> None:
        """The quantization table, in the time that the models left."""
        if self.wants("quantization"):
            spare_s = None if self.plan.seconds is None else self.spare_s
            run = Run(Budget(spare_s, {"quantization": 1}), progress=self.progress)
            self.results.quantization = quantization.measure(
                run,
                self.scoring_s,
                self.results.models,
                n_threads=self.results.models[0].settings.n_threads,
                chunks=self.chunks,
            )
            self.results.skipped += run.skipped
            self.results.interrupted |= run.interrupted
            self.save()

    def weights(self) -> dict[str, float]:
        """Of the sections that are asked for; each peer is one."""
        found: dict[str, float] = {}
        for section, weight in WEIGHTS.items():
            whose = "first_token" if section == "cold" else section
            suggests = section == "threads" and self.plan.suggest
            if self.wants(whose) or suggests:
                names = self.plan.against if section == "peers" else [section]
                found |= dict.fromkeys(names, float(weight))
        return found

    def wants(self, section: str) -> bool:
        """Whether a section is asked for."""
        if self.plan.only:
            return section in self.plan.only
        return section in PROFILES.get(self.plan.profile, SECTIONS)

    def n_ctx(self, path: Path) -> int:
        """The context to load with."""
        wanted = self.plan.n_ctx or (
            profiles.PHONE_N_CTX if self.plan.profile == "phone" else N_CTX
        )
        return min(wanted, Meta(open_gguf(path)).n_ctx_train)

    def cpus(self) -> list[int] | None:
        """The performance cores, for the profile that asks for them, if there are others."""
        if self.plan.profile != "phone":
            return None
        return fast_cpus(self.results.machine.cores)[: profiles.PHONE_THREADS] or None

    def limit(self, n_threads: int) -> Limit:
        """The machine's limits with that many threads, measured once."""
        for limit in self.results.limits:
            if limit.n_threads == n_threads:
                return limit
        self.progress(Step(f"limits of {n_threads} threads", 0, 1))
        limit = limits.measure(n_threads)
        self.progress(Step(f"limits of {n_threads} threads", 1, 1))
        self.results.limits.append(limit)
        self.results.limits.sort(key=lambda limit: limit.n_threads)
        return limit


@contextmanager
def bound_to(cpus: list[int] | None) -> Iterator[None]:
    """Run the block, and the threads that it starts, on these processors."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def versions() -> dict[str, str]:
    """Of what made the numbers."""
    found = {
        "edgelm": importlib.metadata.version("edgelm"),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    with suppress(OSError):
        done = subprocess.run(git, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found["commit"] = done.stdout.strip()
    return found


def warnings(results: Results) -> list[str]:
    """What a reader must know before quoting a number."""
    found = []
    for when, look in (("before", results.machine.before), ("after", results.machine.after)):
        if look is not None and not look.quiet:
            busiest = ", ".join(f"{p.name} ({p.cores:.1f} cores)" for p in look.processes)
            found.append(
                f"The machine was not quiet {when} the run: others used "
                f"{look.others or 0:.0%} of it{f' ({busiest})' if busiest else ''}, and a spinning "
                f"thread lost {look.lost:.0%} of its time. Do not quote these numbers."
            )
    governors = {core.governor for core in results.machine.cores} - {None, "performance"}
    if governors:
        found.append(
            f"The clock's governor is {', '.join(sorted(filter(None, governors)))}; "
            "performance gives steadier times."
        )
    for peer in results.peers:
        if peer.unavailable is not None:
            found.append(f"{peer.peer} could not run {peer.model}: {peer.unavailable}")
    for model in results.models:
        if model.model.random_weights:
            found.append(f"{model.model.name} has random weights: its speed is real, its text not.")
        noisy = [
            f"depth {row.depth}"
            for row in model.decode
            if spread(row.token.samples_ms) > MAX_SPREAD
        ]
        if noisy:
            found.append(
                f"{model.model.name}: decode times vary by more than {MAX_SPREAD:.0%} "
                f"({', '.join(noisy)})."
            )
    if results.interrupted:
        found.append("The run was interrupted: some sections are missing or short.")
    return found
