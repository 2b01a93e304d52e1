"""What the supervisor and a worker tell each other, and the channel they tell it over. No policy of either side.

The channel is a duplex multiprocessing Pipe between two event loops. Messages are small and few: whole connections
travel over a socket of their own, since a file descriptor needs one, and whole bundles over a pipe of their own, since
they are large: threads write and read them.

A change of models has two phases: workers load new bundles and say so (Loaded, Refused) while they serve the old ones;
once all have, each is told to Switch and says when it has (Switched).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Generic, TypeVar

from app.core.observe import Readiness

if TYPE_CHECKING:
    from app.core.bundle import Trial


@dataclass(frozen=True, slots=True)
class Up:
    """Worker: connections can be dealt to me; models are not loaded yet."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker: this bundle, told by its manifest's digest, is loaded and warm on this inference provider."""

    digest: str
    provider: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker: this bundle cannot be served; why, in one line."""

    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Switched:
    """Worker: every request from now on sees this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Worker: so many of the connections dealt to me are closed since I last told."""

    connections: int


@dataclass(frozen=True, slots=True)
class Died:
    """Worker: I can serve no longer and am about to exit; why. `hopeless` where no other worker could do better."""

    reason: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Leaving:
    """Worker: I was asked to stop by somebody else; deal me nothing more, then tell me to drain."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Worker: my event loop turns. The batch that has run the longest was under way at so many beats in a row."""

    batch_beats: int


@dataclass(frozen=True, slots=True)
class Told:
    """Supervisor: the one truth about the service that every worker answers from."""

    readiness: Readiness
    workers: Mapping[str, int]
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Switch:
    """Supervisor: serve exactly these from now on: key -> digest of a bundle that you have loaded. Let go of the rest.

    A name alone never means one of `hidden`; `trials` maps keys to the version on trial beside them.
    """

    generation: int
    models: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    trials: Mapping[str, Trial] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Keys:
    """Supervisor: from now on these `count` keys are in force. The text of the file, checked, which holds no secret."""

    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """Supervisor: the drain comes soon. Answer as before, and let each connection end with its next answer."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Supervisor: nothing more will be dealt to you. Finish what is under way, then exit."""


FromWorker = Up | Loaded | Refused | Switched | Closed | Died | Leaving | Beat
ToWorker = Told | Switch | Keys | Part | Drain

Sent = TypeVar("Sent")
Received = TypeVar("Received")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop of either side: uvloop's where it is installed, else None for Python's own."""
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return None
    return uvloop.new_event_loop


class Channel(Generic[Sent, Received]):
    """One end of a pipe, watched by the running event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watched_by: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Received], None] | None = None
        self._on_end: Callable[[], None] | None = None

    def watch(self, on_message: Callable[[Received], None], on_end: Callable[[], None]) -> None:
        """Call `on_message` for each message, and `on_end` once when the other side is gone."""
        self._on_message, self._on_end = on_message, on_end
        self._watched_by = asyncio.get_running_loop()
        self._watched_by.add_reader(self._connection.fileno(), self.read)

    def read(self) -> None:
        """Pass on whatever has arrived; the loop calls this, and so does who wants the last words of a dead worker."""
        if self._on_message is None or self._on_end is None:
            return
        try:
            while not self._connection.closed and self._connection.poll():
                self._on_message(self._connection.recv())
        except (EOFError, OSError):
            self.close()
            self._on_end()

    def send(self, message: Sent) -> bool:
        """Send without ever blocking. False if the other side is gone, or has left thousands of messages unread."""
        if self._connection.closed:
            return False
        writable = select.poll()
        writable.register(self._connection.fileno(), select.POLLOUT)
        if not writable.poll(0):
            return False
        try:
            self._connection.send(message)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Stop watching and close. Safe to call twice."""
        if self._connection.closed:
            return
        if self._watched_by is not None:
            self._watched_by.remove_reader(self._connection.fileno())
        self._connection.close()
