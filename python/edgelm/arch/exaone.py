"""EXAONE 3: Llama's wiring with RoPE over half-heads and Llama 3.1's frequency factors."""

from __future__ import annotations

from .qwen2 import build

__all__ = ["build"]
