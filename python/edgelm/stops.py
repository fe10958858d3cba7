"""Stop strings: where a reply's text ends before the model ends it."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first stop string, and never a part of one.

    A stop string is looked for in the text that is shown, and in the text with the names of the
    control tokens, which are not: it may be such a name, or hold one.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._held = ""  # with the names of control tokens
        self._shown: list[bool] = []  # of each of its characters

    def push(self, text: str, *, shown: bool = True) -> tuple[str, bool]:
        """The text that may be shown now, and whether a stop string was found behind it."""
        if not self._strings:
            return text if shown else "", False
        self._held += text
        self._shown += [shown] * len(text)
        everywhere = list(range(len(self._held)))
        views = [everywhere]
        if not all(self._shown):
            views.append([i for i in everywhere if self._shown[i]])
        found, cuts = [], []
        for view in views:
            seen = "".join(self._held[i] for i in view)
            found += [view[at] for stop in self._strings if (at := seen.find(stop)) >= 0]
            overlap = max(_overlap(seen, stop) for stop in self._strings)
            cuts.append(view[-overlap] if overlap else len(self._held))
        cut = min(found or cuts)
        ready = self._visible(cut)
        self._held, self._shown = self._held[cut:], self._shown[cut:]
        if found:
            self._held, self._shown = "", []
        return ready, bool(found)

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held = self._visible(len(self._held))
        self._held, self._shown = "", []
        return held

    def _visible(self, n: int) -> str:
        return "".join(c for c, shown in zip(self._held[:n], self._shown, strict=False) if shown)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
