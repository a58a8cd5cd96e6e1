"""One lock per object, so that checking and changing an object is atomic.

Nothing else may happen to an object between reading its generation and changing it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class ObjectLocks:
    """The locks of the objects that requests are working on, by bucket and name."""

    def __init__(self) -> None:
        # A lock lives as long as some request holds a reference to it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def exclusive(self, *objects: tuple[str, str]) -> AsyncIterator[None]:
        """Lock `objects` in the order of their names, so that two requests cannot deadlock."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(objects)):
                lock = self._locks.get(key)
                if lock is None:
                    lock = self._locks[key] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield
