"""The files that worker processes count into: memory-mapped, and given by the disk before they are mapped.

The supervisor makes them at their first size, in app/supervisor/state.py.
"""

from __future__ import annotations

import os

from prometheus_client.mmap_dict import MmapedDict

_ENTRY_BYTES = 32
"""The most that a value takes beside its key."""


class AllocatedDict(MmapedDict):
    """A file of values all of whose bytes the disk has given before they are mapped.

    Where it has not, the first write to a page that a full disk cannot give ends the process with SIGBUS. Values that
    find no room are kept by their owner only, and are written once there is.
    """

    def read_value(self, key: str) -> tuple[float, float]:
        """Value and time of a key, both 0 for one that is not there."""
        return super().read_value(key) if self._has_room_for(key) else (0.0, 0.0)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a value and its time."""
        if self._has_room_for(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_room_for(self, key: str) -> bool:
        if key in self._positions:
            return True
        most = self._used + len(key.encode()) + _ENTRY_BYTES
        if most <= self._capacity:
            return True
        try:
            os.posix_fallocate(self._f.fileno(), 0, self._capacity * -(-most // self._capacity))
        except OSError:
            return False
        return True
