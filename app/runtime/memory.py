"""Memory that goes back to the system once the models are loaded."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes


def give_back_memory() -> None:
    """Have the C library return the memory that loading and warming freed, where it can; glibc keeps it otherwise."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def give_back_memory_soon() -> None:
    """The same in a thread: it takes milliseconds, and requests come in."""
    asyncio.get_running_loop().run_in_executor(None, give_back_memory)
