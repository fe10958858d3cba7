"""Chat templates, and what their models reply."""

from .reasoning import REASONING_MARKS, Reasoning, split
from .sources import ChatTemplates
from .template import ChatTemplate

__all__ = ["REASONING_MARKS", "ChatTemplate", "ChatTemplates", "Reasoning", "split"]
