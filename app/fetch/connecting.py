"""Connections to checked addresses only: a name is resolved once, all its addresses are checked, one is connected to.

The library that speaks HTTP sees the name, for TLS and the Host header, and never an address: there is no second
look-up whose answer could differ from the one that was checked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, ConnectError, ConnectTimeout

from app.fetch.addresses import is_public

ONE_ADDRESS_S = 2.0
"""How long one address of several may take to answer before the next is tried."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class NotPublicError(ConnectError):
    """A name resolves to an address that is not public."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system's resolver gives them, each once. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class CheckedBackend(AsyncNetworkBackend):
    """What httpcore connects with. `network` is what really connects, to an address."""

    def __init__(self, resolve: Resolve = resolve, network: AsyncNetworkBackend | None = None) -> None:
        self._resolve = resolve
        self._network = network or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to the first of the name's addresses that answers.

        Raises NotPublicError where any of them is not public: a name that means both is not one to be trusted.
        """
        one_s = ONE_ADDRESS_S if timeout is None else min(timeout, ONE_ADDRESS_S)
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise ConnectError("the name does not resolve") from error
        if not addresses or not all(map(is_public, addresses)):
            raise NotPublicError("it resolves to an address that is not public")
        failed: Exception = ConnectError("no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, one_s, local_address, socket_options)
            except (ConnectError, ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Wait; never called, since nothing is tried twice."""
        await self._network.sleep(seconds)
