"""A process of its own that runs one engine: for peers, for memory, and for times from the start.

Both ends speak JSON, a line each way; process.py is the other one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from .run import CannotMeasure

LEAST_PATIENCE_S = 10.0


class WorkerError(CannotMeasure):
    """The process could not do it, or ended; the message is the last that it said."""


class Worker:
    """The caller's end of it. A context manager that ends the process."""

    def __init__(
        self,
        engine: str,
        path: Path,
        *,
        n_ctx: int,
        n_threads: int,
        n_batch: int = 512,
        kv_type: str = "f16",
        cpus: Sequence[int] | None = None,
        patience: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Loads the model there. WorkerError if that fails.

        patience: seconds to wait for an answer before the process is ended; None is for ever.
        """
        self.engine = engine
        self._patience = patience
        self._said = TemporaryFile("w+", errors="replace")  # noqa: SIM115  (until close)
        start = {
            "engine": engine,
            "path": str(path),
            "cpus": None if cpus is None else list(cpus),
            "settings": {
                "n_ctx": n_ctx,
                "n_threads": n_threads,
                "n_batch": n_batch,
                "kv_type": kv_type,
            },
            "began": time.monotonic(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.process", json.dumps(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            self.hello: dict[str, Any] = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the engine there."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([method, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer, or its absence, says why
        return self._answer()

    def _end_late(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def close(self) -> None:
        """End the process, now."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        patience, late = self._patience(), threading.Event()
        with ExitStack() as waiting:
            if patience is not None:
                patience = max(patience, LEAST_PATIENCE_S)
                timer = threading.Timer(patience, self._end_late, (late,))
                timer.start()
                waiting.callback(timer.cancel)
            line = self._process.stdout.readline()
        if late.is_set():
            raise WorkerError(f"it was ended after {patience:.0f} s without an answer")
        if line:
            answer = json.loads(line)
            if "error" not in answer:
                return answer["result"]
            raise WorkerError(answer["error"])
        code = self._process.wait()
        self._said.seek(0)
        last = self._said.read().strip().rpartition("\n")[2]
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerError(f"its process ended with {why}" + (f": {last}" if last else ""))
