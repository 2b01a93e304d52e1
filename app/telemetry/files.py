"""The files that worker processes count into: memory-mapped, and given by the disk before they are mapped.

The supervisor makes them at their first size, in app/supervisor/state.py.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client.mmap_dict import MmapedDict, mmap_key

_ENTRY_BYTES = 32
"""The most that a value takes beside its key."""


class AllocatedDict(MmapedDict):
    """A file of values all of whose bytes the disk has given before they are mapped.

    Where it has not, the first write to a page that a full disk cannot give ends the process with SIGBUS. Values that
    find no room are kept by their owner only, and are written once there is.
    """

    _view: memoryview[float] | None = None

    def place(self, key: str) -> tuple[memoryview[float], int] | None:
        """Where the value of a key lies for as long as this process lives, as a float64 of a view; None without room.

        A file that grows is mapped anew. The views of its former mappings stay good: both show the same pages.
        """
        if not self._has_room_for(key):
            return None
        super().read_value(key)  # type: ignore[no-untyped-call]  # which makes one of 0
        view = self._view
        if view is None or view.obj is not self._m:
            self._view = view = memoryview(self._m).cast("d")
        return view, self._positions[key] // view.itemsize

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


class SlotValue:
    """A number of this process's slot, to which is added under a lock; what prometheus_client calls a ValueClass.

    The library's own packs each value with its time into the map, and asks each time whether the process has forked.
    Here a value is added to where it lies: what was counted is in the file at once, and survives the process.
    """

    _multiprocess = True  # as the library asks
    _files: ClassVar[dict[str, AllocatedDict]] = {}
    _lock = threading.Lock()
    folder: ClassVar[Path]
    slot: ClassVar[int]

    def __init__(self, kind: str, *named: Any, **_: object) -> None:
        """`named`: metric, sample, names of labels, labels and meaning, as the library gives them."""
        with self._lock:
            if kind not in self._files:
                self._files[kind] = AllocatedDict(self.folder / f"{kind}_{self.slot}.db")  # type: ignore[no-untyped-call]
            self._file = self._files[kind]
            self._key = mmap_key(*named)
            self._place = self._file.place(self._key)
            self._value = 0.0 if self._place is None else self._place[0][self._place[1]]

    def inc(self, amount: float) -> None:
        """Add to it."""
        with self._lock:
            self._value += amount
            if self._place is None:
                self._place = self._file.place(self._key)
            if self._place is not None:
                view, index = self._place
                view[index] = self._value

    def get(self) -> float:
        """What it is."""
        return self._value
