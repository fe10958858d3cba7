"""What people look at: a self-contained page with plots, and Markdown."""

from .markdown import render as markdown
from .page import render as page

__all__ = ["markdown", "page"]
