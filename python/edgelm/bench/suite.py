"""The whole run: every section of every model, then the table of files, then the peers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ..gguf import open_gguf
from ..hub import Progress, Step
from ..meta import Meta
from . import limits, machine, noise, peers, profiles, projection, quantization, threads
from .budget import Budget
from .limits import Limit
from .peers import PEERS
from .plan import Effort, Plan
from .quantization import QUANTIZATION
from .results import SCHEMA_VERSION, SECTIONS, ModelResult, Results
from .run import Run
from .section import Case, Section
from .stats import spread
from .subject import Subject
from .topology import fast_cpus

PROFILES: dict[str | None, tuple[str, ...]] = {
    "phone": ("scenarios", "cost", "load", "memory", "peers"),
    "survey": ("scenarios", "cost", "peers"),
    "llama-bench": ("llama_bench", "peers"),
}
N_CTX = 2304  # the greatest depth, and the tokens behind it
QUANTIZATION_CHUNKS: dict[Effort, int] = {"quick": 1, "default": 2, "full": 1000}
MAX_SPREAD = 0.1


def names() -> list[str]:
    """Of all sections, as a plan may name them."""
    return [s.name for s in (*SECTIONS, PEERS, QUANTIZATION) if s.weight and not s.part]


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
                case = Case(run, subject, limit, plan, self.results.machine)
                self.sections(case, result, apart=False)
                self.scoring_s[path] = quantization.expected_s(subject, self.chunks)
            for peer in plan.against:
                if self.wants(PEERS) and not run.interrupted:
                    self.results.peers += peers.measure(replace(case, peer=peer))
                    self.save()
            self.sections(case, result, apart=True)
            self.suggest(case, result)
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

    def sections(self, case: Case, result: ModelResult, *, apart: bool) -> None:
        """Those that are wanted: in this process, the model loaded, or apart, it being freed."""
        for section in SECTIONS:
            if section.apart != apart or section.measure is None or not self.wants(section):
                continue
            if case.run.interrupted:
                return
            found = section.measure(case)
            kept = getattr(result, section.field)
            setattr(result, section.field, kept + found if isinstance(kept, list) else found)
            self.save()

    def suggest(self, case: Case, result: ModelResult) -> None:
        """The limits of every number of threads that was tried; the best one, if asked for."""
        for setting in result.threads:
            self.limit(setting.n_threads)
        if case.plan.suggest and result.threads:
            memory_bytes = self.results.machine.memory_bytes
            result.suggestion = threads.suggestion(result.threads, case.subject, memory_bytes)

    @property
    def chunks(self) -> int:
        """Of the text that the quantization table scores."""
        return QUANTIZATION_CHUNKS[self.plan.effort]

    def files(self) -> None:
        """The quantization table, in the time that the models left."""
        if self.wants(QUANTIZATION):
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
        """Of the sections that are wanted, as they run; each peer is one."""
        within = [s for s in SECTIONS if not s.apart]
        apart = [s for s in SECTIONS if s.apart]
        found: dict[str, float] = {}
        for section in (*within, PEERS, *apart, QUANTIZATION):
            if section.weight and self.wants(section):
                whose = self.plan.against if section is PEERS else [section.name]
                found |= dict.fromkeys(whose, section.weight)
        return found

    def wants(self, section: Section) -> bool:
        """Whether a section is asked for."""
        plan, name = self.plan, section.field
        if section.asked(plan):
            return True
        if plan.only:
            return name in plan.only
        return name in PROFILES[plan.profile] if plan.profile in PROFILES else section.standard

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
