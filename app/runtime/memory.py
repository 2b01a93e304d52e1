"""A bound on the memory that this process may write to. What becomes of an item beyond it is not decided here."""

from __future__ import annotations

import ctypes
import resource

MEBIBYTE = 1024 * 1024
M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def bound_memory(mebibytes: int) -> None:
    """Have allocations beyond it fail, for good.

    Data only (RLIMIT_DATA): mapped files and addresses that are only reserved do not count, as they would under
    RLIMIT_AS. What an item took must come back at once, or the next small allocation of another thread would fail in
    its place: large pieces are therefore always mapped on their own, where malloc would come to keep them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = mebibytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, MEBIBYTE)
