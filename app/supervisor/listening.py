"""The listening socket: bound first, accepted from here only, each connection dealt to a worker. Knows no processes.

While no worker can take a connection nothing is accepted: the connections wait in the kernel's queue, which bounds
them, and none is lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from app.supervisor.dealing import Candidate, Dealer

BACKLOG = 2048
ACCEPT_AT_ONCE = 64
RETRY_S = 0.01
LAST_TRIES = 100
"""How often an acceptor that closes tries to deal what it has accepted: a second in all."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking socket. Raises OSError (port in use, no such address, not permitted)."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = addresses[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def url(listener: socket.socket) -> str:
    """Return where the listener can be reached, with the port that it really has."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Acceptor:
    """Accepts on the running loop and deals."""

    def __init__(
        self,
        listener: socket.socket,
        candidates: Callable[[], list[Candidate[int]]],
        deal: Callable[[int, socket.socket], bool],
    ) -> None:
        self._listener = listener
        self._candidates = candidates
        self._deal_to = deal
        self._dealer = Dealer[int]()
        self._held: deque[socket.socket] = deque()
        self._watching = False
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    def wake(self) -> None:
        """Look again whether anyone can take connections; to be called whenever a worker comes up or goes."""
        if self._closed:
            return
        if self._candidates() and self._deal_held():
            self._watch()
        else:
            self._pause()

    def take_back(self, connections: list[socket.socket]) -> None:
        """Deal these before any newcomer; once closed, close them."""
        if self._closed:
            for connection in connections:
                connection.close()
        elif connections:
            self._held.extendleft(reversed(connections))
            self.wake()

    async def close(self) -> None:
        """Deal all that the kernel has accepted already, while anyone can take it and for a moment only, then stop."""
        for _ in range(LAST_TRIES):
            if not self._candidates() or self._accept_all():
                break
            await asyncio.sleep(RETRY_S)
        self._pause()
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for connection in self._held:
            connection.close()
        self._listener.close()

    def _watch(self) -> None:
        if not self._watching:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept_all)
            self._watching = True

    def _pause(self) -> None:
        if self._watching:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._watching = False

    def _pause_awhile(self) -> None:
        self._pause()
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.wake()

    def _accept_all(self) -> bool:
        """Accept and deal some; whether none is left, neither here nor in the kernel."""
        for _ in range(ACCEPT_AT_ONCE):
            if not self._deal_held():
                return False
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return True
            except ConnectionError:
                continue  # this client has gone already
            except OSError:  # out of descriptors or memory: the kernel keeps the rest meanwhile
                self._pause_awhile()
                return False
            self._held.append(connection)
        self._deal_held()
        return False

    def _deal_held(self) -> bool:
        """Deal what was accepted, one at a time; what nobody can take is kept and tried again soon."""
        while self._held:
            slot = next((s for s in self._dealer.order(self._candidates()) if self._deal_to(s, self._held[0])), None)
            if slot is None:
                self._pause_awhile()
                return False
            self._dealer.dealt(slot)
            self._held.popleft().close()
        return True
