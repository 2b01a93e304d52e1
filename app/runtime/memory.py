"""The memory of this process: a bound on what it may write to, what it keeps, and what goes back after a start.

What becomes of an item beyond the bound is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource

MEBIBYTE = 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGE = 4 * MEBIBYTE
"""From here on a piece is mapped on its own. Those of a batch of texts are smaller: mapped and given back at each run
they make it a third slower (16 texts of 16 tokens)."""
SPARE = 8 * MEBIBYTE
"""What malloc keeps at the end of a heap for the next batch, at most."""
LARGE_IN_BULK, SPARE_IN_BULK = 32 * MEBIBYTE, 64 * MEBIBYTE
"""The same for a process that does nothing but run batches; malloc itself goes as far, where a process has freed as
large pieces."""


def bound_memory(mebibytes: int) -> None:
    """Have allocations beyond it fail, for good.

    Data only (RLIMIT_DATA): mapped files and addresses that are only reserved do not count, as they would under
    RLIMIT_AS. What an item took must come back at once, or the next small allocation of another thread would fail in
    its place: large pieces are therefore always mapped on their own, where malloc would come to keep them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = mebibytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    _set_malloc(LARGE, SPARE)


def keep_memory() -> None:
    """Have the C library keep what a run needs for the next one, where it can, for good.

    glibc returns it, and fetches it page by page anew, until a process has freed something larger than its runs need:
    10 % of what texts cost whose padding is cut, so that no run is large.
    """
    _set_malloc(LARGE_IN_BULK, SPARE_IN_BULK)


def _set_malloc(large: int, spare: int) -> None:
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, large)
        libc.mallopt(M_TRIM_THRESHOLD, spare)


def give_back_memory() -> None:
    """Have the C library return the memory that loading and warming freed, where it can; glibc keeps it otherwise."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def give_back_memory_soon() -> None:
    """The same in a thread: it takes milliseconds, and requests come in."""
    asyncio.get_running_loop().run_in_executor(None, give_back_memory)
