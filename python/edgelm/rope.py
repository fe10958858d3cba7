"""Rotary position embeddings: inverse frequencies, computed once in Python, rotated in C++."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Rope:
    """inv_freq (n_rot / 2,) in radians per position; cosines and sines are scaled by mscale."""

    inv_freq: NDArray[np.float64]
    mscale: float = 1.0


def plain_rope(n_rot: int, base: float) -> Rope:
    """inv_freq[i] = base^(-2i / n_rot). Source: arXiv:2104.09864."""
    return Rope(base ** (-np.arange(0, n_rot, 2) / n_rot))


def linear_rope(n_rot: int, base: float, factor: float) -> Rope:
    """Positions divided by factor. Source: arXiv:2306.15595."""
    return Rope(plain_rope(n_rot, base).inv_freq / factor)


def factored_rope(n_rot: int, base: float, factors: NDArray[np.floating]) -> Rope:
    """Each frequency divided by its own factor, as Llama 3.1's `rope_freqs` tensor gives them."""
    return Rope(plain_rope(n_rot, base).inv_freq / np.asarray(factors, np.float64))


def yarn_rope(
    n_rot: int,
    base: float,
    factor: float,
    n_ctx_original: int,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    log_multiplier: float = 0.0,
    attn_factor: float = 1.0,
    truncate: bool = True,
) -> Rope:
    """High frequencies stay, low ones are interpolated. Source: arXiv:2309.00071.

    The attention grows with the logarithm of the factor, but for what DeepSeek's log_multiplier
    takes back (`mscale_all_dim` in its configuration). Source: arXiv:2405.04434. The frequencies
    between begin and end at whole numbers if `truncate`, as everywhere but in gpt-oss.
    """

    def dimension(n_turns: float) -> float:  # where a pair turns n_turns times in the context
        return n_rot * math.log(n_ctx_original / (n_turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = dimension(beta_fast), dimension(beta_slow)
    low = max(0, math.floor(first) if truncate else first)
    high = min(n_rot - 1, math.ceil(last) if truncate else last)
    ramp = np.clip((np.arange(n_rot // 2) - low) / max(0.001, high - low), 0, 1)
    plain = plain_rope(n_rot, base).inv_freq
    inv_freq = plain / factor * ramp + plain * (1 - ramp)
    growth = 0.1 * max(0.0, math.log(factor))
    return Rope(inv_freq, attn_factor * (1 + growth) / (1 + log_multiplier * growth))
