"""The HTTP server of a worker: uvicorn, fed with connections that the supervisor has accepted and deals. No routes.

connection.py is one connection; here they are taken, counted, made room for, and drained.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import resource
import socket
from collections.abc import Callable

import uvicorn

from app.api.connection import Connection
from app.api.door import Door

TAKE_AT_ONCE = 64
SPARE_DESCRIPTORS = 64
"""Left for everything but connections: models, metrics, pipes, sockets on their way here."""
LAST_REQUESTS_S = 0.05
"""How long a drain waits for requests that their clients sent before they could know of it."""


class DealtServer(uvicorn.Server):
    """Serves what is behind `door` on connections received over the socket `deals`, one descriptor a message.

    `on_closed` is called once for each connection that was dealt, when it is closed. `on_up` is called when
    connections can be dealt. `stop` drains; `serve_dealt` returns once that is done.
    """

    def __init__(
        self,
        door: Door,
        deals: socket.socket,
        *,
        keep_alive_s: int,
        drain_ms: int,
        max_connections: int,
        on_up: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            door,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=math.ceil(drain_ms / 1000),
        )
        super().__init__(config)
        self.door = door
        self._deals = deals
        self._deals.setblocking(False)
        self._on_up = on_up
        self._on_closed = on_closed
        self._joining: set[asyncio.Task[None]] = set()
        self._max_connections = min(max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)
        self.parting = False
        """Whether each connection is to end with its next answer."""
        self.idle: dict[Connection, None] = {}
        """Connections that wait for a whole head, those that do so for longest first."""

    async def serve_dealt(self) -> None:
        """Serve until `stop`. Signals are the worker's business, not the server's."""
        await self._serve(None)

    def make_room(self) -> None:
        """Close those connections that are idle for longest while there are too many."""
        excess = len(self.server_state.connections) - self._max_connections
        for connection in list(itertools.islice(self.idle, max(excess, 0))):
            connection.drop()

    def part(self) -> None:
        """Let each connection end with its next answer; those that have none under way with the one after."""
        self.parting = True
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.close_after_answer()

    def stop(self) -> None:
        """Finish the requests under way, no longer than the drain time, and end."""
        self.part()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from the supervisor instead of listening."""
        del sockets  # uvicorn's own way of being fed: listening sockets
        await self.lifespan.startup()
        self.servers = []
        asyncio.get_running_loop().add_reader(self._deals.fileno(), self._take)
        self.started = True
        self._on_up()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what was dealt before the drain, give its requests a moment to arrive, then close as uvicorn does."""
        while self._take():
            pass
        asyncio.get_running_loop().remove_reader(self._deals.fileno())
        self._deals.close()
        await asyncio.sleep(LAST_REQUESTS_S)
        await super().shutdown(sockets)

    def _take(self) -> bool:
        """Take connections from the deal socket; whether there may be more."""
        for _ in range(TAKE_AT_ONCE):
            try:
                message, descriptors, _, _ = socket.recv_fds(self._deals, 1, 1)
            except (BlockingIOError, InterruptedError):
                return False
            if not message:  # the supervisor is gone; its control channel says so too
                asyncio.get_running_loop().remove_reader(self._deals.fileno())
                return False
            if not descriptors:  # out of descriptors: the kernel has dropped this connection
                self._on_closed()
            for descriptor in descriptors:
                task = asyncio.get_running_loop().create_task(self._join(socket.socket(fileno=descriptor)))
                self._joining.add(task)
                task.add_done_callback(self._joining.discard)
        return True

    async def _join(self, connected: socket.socket) -> None:
        """Speak HTTP on a connection from now on."""
        connected.setblocking(False)
        connection = Connection(self, self._on_closed)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, connected)
        except OSError:  # its client left on the way here
            connected.close()
            connection.never_made()
