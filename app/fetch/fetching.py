"""Fetching the content of URLs: few at a time, within bytes and time, following redirects only to where a URL may lead.

Content comes as the host sent it: nothing is decompressed. Neither the caller's headers nor the environment's proxies
are used. What went wrong is told to the log; the caller learns that it failed, and nothing of the network behind.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Mapping

from httpcore2 import (
    URL,
    AsyncConnectionPool,
    AsyncNetworkBackend,
    NetworkError,
    ProtocolError,
    Response,
    TimeoutException,
    default_ssl_context,
)

from app.core.errors import DeadlineExceeded, InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.fetch.connecting import CheckedBackend
from app.fetch.urls import Place, read_hosts, read_url

AT_ONCE = 16
"""Connections of one worker."""
MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = [
    (b"User-Agent", b"twinserve"),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
]
FAILED = (
    "nothing could be fetched from this url; check that it answers 200 with the content itself, or send the content"
)

logger = logging.getLogger(__name__)


class _FetchError(Exception):
    """Why nothing could be fetched, for the log."""


class _Budget:
    """Bytes that the URLs of one request may still bring."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = self.left = max_bytes

    def check(self, coming: int) -> None:
        if coming > self.left:
            raise TooLarge(f"the urls of this request lead to more than {self.max_bytes} bytes; send less at once")

    def take(self, count: int) -> None:
        self.check(count)
        self.left -= count


class Fetcher:
    """Fetches for one worker, on its event loop. Bounds hold for all the URLs of one request together.

    `hosts` is the list of the setting; `timeout_s` counts waiting for a free connection too. Made anew, `backend` and
    `trusted` are the real network and the system's certificate authorities.
    """

    def __init__(
        self,
        hosts: str,
        *,
        timeout_s: float,
        max_bytes: int,
        backend: AsyncNetworkBackend | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = read_hosts(hosts)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._pool = AsyncConnectionPool(
            ssl_context=trusted or default_ssl_context(),
            max_connections=AT_ONCE,
            max_keepalive_connections=0,  # each URL's address is checked anew, and none meets a connection just closed
            network_backend=backend or CheckedBackend(),
        )

    async def fetch(self, urls: Collection[str]) -> Mapping[str, bytes | TwinserveError]:
        """The content of each distinct URL, or the error of the item that names it.

        Errors are InvalidRequest for a URL that is not taken, UnusableInput for one that gives no content, TooLarge and
        DeadlineExceeded beyond the bounds.
        """
        budget = _Budget(self._max_bytes)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._fetch(url, budget, deadline)) for url in dict.fromkeys(urls)}
        return {url: task.result() for url, task in tasks.items()}

    async def close(self) -> None:
        """Close what is still open."""
        await self._pool.aclose()

    async def _fetch(self, url: str, budget: _Budget, deadline: float) -> bytes | TwinserveError:
        try:
            place = read_url(url, self._hosts)
            async with asyncio.timeout_at(deadline):
                return await self._follow(place, budget)
        except TwinserveError as error:
            return error
        except TimeoutError:
            return DeadlineExceeded(f"the url did not give its content within {self._timeout_s:g} s; try again later")
        except (_FetchError, NetworkError, ProtocolError, TimeoutException, OSError) as error:
            # The library's own words may hold what the host sent.
            cause = str(error) if isinstance(error, _FetchError) else type(error).__name__
            logger.info("fetch failed", extra={"host": place.host, "cause": cause})
            return UnusableInput(FAILED)

    async def _follow(self, place: Place, budget: _Budget) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            found = await self._ask(place, budget)
            if isinstance(found, bytes):
                return found
            try:
                place = read_url(place.joined(found), self._hosts)
            except (InvalidRequest, ValueError):
                raise _FetchError("it redirects to where nothing is fetched from") from None
        raise _FetchError("it redirects too often")

    async def _ask(self, place: Place, budget: _Budget) -> bytes | str:
        """The content, or where it is said to be."""
        url = URL(scheme="https", host=place.host, port=place.port, target=place.target)
        async with self._pool.stream("GET", url, headers=HEADERS) as response:
            headers = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in headers:
                return headers[b"location"].decode("latin-1")
            if response.status != 200:
                raise _FetchError(f"it answers {response.status}")
            if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                raise _FetchError("its answer is compressed")
            declared = headers.get(b"content-length", b"")
            if declared.isdigit():
                budget.check(int(declared))
            return await _read(response, budget)


async def _read(response: Response, budget: _Budget) -> bytes:
    parts = []
    async for part in response.aiter_stream():
        budget.take(len(part))
        parts.append(part)
    return b"".join(parts)
