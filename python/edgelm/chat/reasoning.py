"""What a model writes, parted into its reasoning and its answer.

The marks are those that models' own chat templates write. Harmony's are gpt-oss's, a reply of
which is a row of messages, each in a channel: "final" holds the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLOCKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "<mm:think>": "</mm:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
}
START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
# Control tokens that a reply's text must show, or nobody could tell the two apart.
REASONING_MARKS = frozenset((*BLOCKS, *BLOCKS.values(), "<|channel>", START, CHANNEL, MESSAGE))
_FINAL = "final"


@dataclass(frozen=True)
class Part:
    """A piece of a reply's text."""

    text: str
    reasons: bool


class Reasoning:
    """Parts a reply while it comes. `prompt` is what it continues: that may open a block."""

    def __init__(self, prompt: str = "") -> None:
        tail = prompt[-256:].rstrip()
        self._held = ""
        self._close = next((end for mark, end in BLOCKS.items() if tail.endswith(mark)), "")
        self._state = "reasoning" if self._close else "start"
        if re.search(r"<\|start\|>assistant$", tail):
            self._state = "header"
        elif found := re.search(r"<\|channel\|>\s*(\w+)[^|]*<\|message\|>[^|]*$", tail):
            self._state = "message"
            self._channel = found[1]
        self._pending = ""  # blanks that end reasoning unless more of it comes
        self._reasoned = False
        self._at_start = self._state != "start"  # of a part whose leading blanks are not its own

    def push(self, text: str) -> list[Part]:
        """What of the text is clear by now."""
        self._held += text
        return [part for part in self._parts() if part.text]

    def flush(self) -> list[Part]:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        if self._state == "header":  # cut in the middle of a mark
            return []
        return [part for part in [self._part(held)] if part.text]

    def _parts(self) -> Iterator[Part]:
        while self._held:
            step = getattr(self, f"_{self._state}")()
            if step is None:
                return
            yield step

    def _start(self) -> Part | None:
        """Nothing but blanks so far: a mark here opens a block."""
        text = self._held.lstrip()
        for mark in (CHANNEL, START, *BLOCKS):
            if text.startswith(mark):
                self._at_start = True
                if mark in BLOCKS:
                    self._state, self._close = "reasoning", BLOCKS[mark]
                    self._held = text.removeprefix(mark)
                else:
                    self._state, self._held = "header", text
                return Part("", True)
        if any(mark.startswith(text) for mark in (CHANNEL, START, *BLOCKS)):
            return None
        self._state = "answer"
        return Part("", False)

    def _answer(self) -> Part | None:
        text, self._held = self._held, ""
        return self._part(text)

    def _reasoning(self) -> Part | None:
        before, mark, after = self._held.partition(self._close)
        if mark:
            part, self._held = self._part(before), after
            self._state, self._at_start, self._pending = "answer", True, ""
            return part
        return self._all_but(self._close)

    def _header(self) -> Part | None:
        """<|start|>assistant<|channel|>final<|message|>, or a part of it."""
        before, mark, after = self._held.partition(MESSAGE)
        if not mark:
            return None
        _, named, channel = before.rpartition(CHANNEL)
        self._channel = (channel.split() or [""])[0] if named else _FINAL
        self._state, self._at_start, self._held = "message", True, after
        return Part("", True)

    def _message(self) -> Part | None:
        found = [at for mark in (START, CHANNEL) if (at := self._held.find(mark)) >= 0]
        if found:
            part, self._held = self._part(self._held[: min(found)]), self._held[min(found) :]
            self._state, self._pending = "header", ""
            return part
        return self._all_but(START, CHANNEL)

    def _all_but(self, *marks: str) -> Part | None:
        """The text, but for its end where that may become one of the marks."""
        text = self._held
        n = max(
            (n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0
        )
        self._held = text[len(text) - n :]
        return self._part(text[: len(text) - n]) if len(text) > n else None

    def _part(self, text: str) -> Part:
        reasons = self._state == "reasoning" or (
            self._state == "message" and self._channel != _FINAL
        )
        if self._at_start:
            text = text.lstrip()
            if not text:
                return Part("", reasons)
            self._at_start = False
            if reasons and self._reasoned:
                text = "\n\n" + text
        if reasons:
            self._reasoned = True
            text = self._pending + text
            self._pending = text[len(text.rstrip()) :]
            text = text.rstrip()
        return Part(text, reasons)


def split(text: str, prompt: str = "") -> tuple[str, str]:
    """Reasoning and answer of a whole reply."""
    reasoning = Reasoning(prompt)
    parts = [*reasoning.push(text), *reasoning.flush()]
    whole = [
        "".join(part.text for part in parts if part.reasons is reasons) for reasons in (True, False)
    ]
    return whole[0], whole[1]
