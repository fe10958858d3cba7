"""How much of a prompt may join a step of tokens that are being decoded."""

from __future__ import annotations

PAUSE_S = 0.05  # that a decoding reply waits for others' prompts
FIRST = 32  # tokens, before anything was measured


class Pace:
    """Measures what a prompt's tokens cost beside tokens that are decoded."""

    def __init__(self) -> None:
        self._decode_s: dict[int, float] = {}  # of a step of so many decoded tokens alone
        self._token_s = 0.0  # of one more token of a prompt

    def budget(self, n_left: int) -> int:
        """Prompt tokens of a step, when the next prompt has n_left: no tiny rest is left over."""
        n = max(1, int(PAUSE_S / self._token_s)) if self._token_s > 0 else FIRST
        return n_left if n < n_left <= n + n // 2 else n

    def record(self, n_decoded: int, n_prompt: int, seconds: float) -> None:
        """A step took so long. Each measure counts for half, so that it follows the machine."""
        if n_prompt == 0:
            before = self._decode_s.get(n_decoded, seconds)
            self._decode_s[n_decoded] = (before + seconds) / 2
            return
        alone_s = max((s for n, s in self._decode_s.items() if n <= n_decoded), default=0.0)
        token_s = max(seconds - alone_s, 0.1 * seconds) / n_prompt
        self._token_s = (self._token_s + token_s) / 2 if self._token_s else token_s
