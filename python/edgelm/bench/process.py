"""What a worker's process does: run one engine, and answer.

    python -m edgelm.bench.process '{"engine": "edgelm", "path": ..., "began": ..., ...}'

The answers have a pipe of their own: engines may print.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..memory import resident_bytes

_STARTED = time.monotonic()


def work(start: dict[str, Any], answers: Any) -> None:
    """Load, tell how long that took, then answer one line per line of input."""

    def answer(**what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    if start["cpus"] is not None:
        os.sched_setaffinity(0, start["cpus"])
    from .engines import ENGINES

    try:
        imports = time.monotonic()
        if start["engine"] == "edgelm":
            from .. import api

            _ = api.load
        rss_bytes = resident_bytes()
        imported = time.monotonic()
        engine = ENGINES[start["engine"]](Path(start["path"]), **start["settings"])
        hello = {
            "version": engine.version,
            "settings": engine.settings,
            "rss_bytes": rss_bytes,
            "interpreter_ms": 1e3 * (_STARTED - start["began"]),
            "imports_ms": 1e3 * (imported - imports),
            "load_ms": 1e3 * (time.monotonic() - imported),
        }
    except Exception as error:
        return answer(error=f"{type(error).__name__}: {error}")
    answer(result=hello)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        try:
            result = getattr(engine, method)(*arguments)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")
        else:
            answer(result=result)
    return None


if __name__ == "__main__":
    own_pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work(json.loads(sys.argv[1]), own_pipe)
    own_pipe.flush()
    os._exit(0)  # a peer's threads may not end by themselves
