"""A caller's file that its decoder may read so often and no more: what its steps cost is bounded in every format."""

from __future__ import annotations

from io import BytesIO


class CostsTooMuchError(Exception):
    """A file whose reading takes more steps, or goes over it more often, than one of its size calls for."""


class Bounded(BytesIO):
    """`data` as a file, of at most `reads` reads and `passes` times its own bytes.

    Decoders in Python take a file apart step by step, a read or more each, while they hold the interpreter's lock: a
    file of millions of empty parts would take them half a minute.
    """

    def __init__(self, data: bytes, *, reads: int, passes: int) -> None:
        super().__init__(data)
        self._reads, self._bytes = reads, passes * len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """As BytesIO does. Raises CostsTooMuchError beyond either bound."""
        data = super().read(size)
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise CostsTooMuchError
        return data
