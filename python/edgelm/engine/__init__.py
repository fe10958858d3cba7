"""The engine: requests queue here, and steps compute their tokens together.

`sequences` knows the texts in the cache, `request` what may be asked, `composer` who is next,
`turns` who makes the steps (`tasks`: for an event loop), `scheduler` what a step is, `lifecycle`
how it all ends. None knows options or characters.
"""

from .lifecycle import Engine
from .request import ALL, Request
from .sequences import CachedText, checked_ids, common_prefix

__all__ = ["ALL", "CachedText", "Engine", "Request", "checked_ids", "common_prefix"]
