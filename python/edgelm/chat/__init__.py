"""Chat templates."""

from .template import ChatTemplate

__all__ = ["ChatTemplate"]
