"""What the kernel has accepted is dealt, and comes back from the dead, until the listening socket is closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from app.supervisor.dealing import Candidate
from app.supervisor.listening import ACCEPT_AT_ONCE, Acceptor, bind

pytestmark = pytest.mark.anyio


class Desk:
    """One worker's place, that takes connections while it has room."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[socket.socket] = []

    def candidates(self) -> list[Candidate[int]]:
        return [Candidate(0, True, len(self.taken))]

    def deal(self, _slot: int, connection: socket.socket) -> bool:
        if self.room > len(self.taken):
            self.taken.append(connection.dup())
            return True
        return False

    def close(self) -> None:
        for connection in self.taken:
            connection.close()


def acceptor_of(desk: Desk) -> tuple[Acceptor, Callable[[], socket.socket]]:
    listener = bind("127.0.0.1", 0)
    address = listener.getsockname()
    return Acceptor(listener, desk.candidates, desk.deal), lambda: socket.create_connection(address, timeout=20)


async def test_closing_deals_every_connection_that_the_kernel_has_accepted() -> None:
    desk = Desk()
    acceptor, connect = acceptor_of(desk)
    clients = [connect() for _ in range(2 * ACCEPT_AT_ONCE + 1)]
    await acceptor.close()
    assert len(desk.taken) == len(clients)
    with pytest.raises(ConnectionRefusedError):
        connect()
    for client in clients:
        client.close()
    desk.close()


async def test_closing_waits_a_moment_for_a_worker_that_has_no_room() -> None:
    desk = Desk(room=0)
    acceptor, connect = acceptor_of(desk)
    client = connect()
    closing = asyncio.create_task(acceptor.close())
    await asyncio.sleep(0)  # it finds no room, and waits
    desk.room = 1
    await closing
    assert len(desk.taken) == 1
    client.close()
    desk.close()


async def test_connections_of_the_dead_are_dealt_before_newcomers() -> None:
    desk = Desk()
    acceptor, connect = acceptor_of(desk)
    clients = [connect() for _ in range(3)]
    acceptor.wake()
    assert acceptor._accept_all()
    returned, desk.taken = desk.taken[:2], desk.taken[2:]
    newcomer = connect()
    acceptor.take_back(returned)
    await acceptor.close()
    assert [taken.getpeername() for taken in desk.taken] == [
        client.getsockname() for client in (clients[2], *clients[:2], newcomer)
    ]
    assert all(connection.fileno() == -1 for connection in returned)
    for client in (*clients, newcomer):
        client.close()
    desk.close()


async def test_connections_of_the_dead_are_closed_once_nothing_is_served_any_more() -> None:
    desk = Desk()
    acceptor, _ = acceptor_of(desk)
    await acceptor.close()
    ours, theirs = socket.socketpair()
    acceptor.take_back([theirs])
    assert ours.recv(1) == b""
    ours.close()
