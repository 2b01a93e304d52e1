"""A host of the internet on the loopback: real TLS, real bytes, names and addresses as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import trustme
from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, ConnectError

from app.fetch.connecting import CheckedBackend
from app.fetch.fetching import Fetcher

NAME, OTHER, UNLISTED = "files.example.org", "other.example.org", "elsewhere.example.org"
PUBLIC, ALSO_PUBLIC = "93.184.216.34", "2606:2800:220:1::1"

Writer = asyncio.StreamWriter
Answer = bytes | Callable[[Writer], Awaitable[None]]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with its length."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"gone", f"Location: {location}", status=status)


@dataclass
class Host:
    """Answers by path, and remembers what it was asked. Its certificate is for NAME and OTHER."""

    answers: dict[str, Answer] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    port: int = 0
    authority: trustme.CA = field(default_factory=trustme.CA)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Host]:
        """Serve on a free port of the loopback."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(NAME, OTHER).configure_cert(context)
        context.sni_callback = lambda _, name, __: self.server_names.append(name)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    @property
    def trusted(self) -> ssl.SSLContext:
        """What trusts this host's certificate and no other."""
        context = ssl.create_default_context(cafile=None, cadata=self.authority.cert_pem.bytes().decode())
        assert context.verify_mode is ssl.CERT_REQUIRED
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                found = self.answers.get(head.split()[1], answer(b"secret of the host", status="404 Not Found"))
                if isinstance(found, bytes):
                    writer.write(found)
                    await writer.drain()
                else:
                    await found(writer)
                    return
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.open -= 1
            writer.close()


@dataclass
class Internet(AsyncNetworkBackend):
    """Every address leads to the one host, but `dead` ones; what was connected to is remembered."""

    host: Host
    dead: Sequence[str] = ()
    connected: list[tuple[str, int]] = field(default_factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to the host in place of an address."""
        self.connected.append((host, port))
        if host in self.dead:
            raise ConnectError("no route")
        return await AnyIOBackend().connect_tcp("127.0.0.1", self.host.port, timeout, local_address, socket_options)


@dataclass
class Names:
    """A resolver. Each name has a list of answers, of which the last is given again and again."""

    answers: dict[str, list[list[str]]] = field(default_factory=lambda: {NAME: [[PUBLIC]], OTHER: [[PUBLIC]]})
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Resolve."""
        assert port
        self.asked.append(host)
        answers = self.answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextlib.asynccontextmanager
async def fetcher_of(
    host: Host,
    *,
    hosts: str = f"{NAME}, {OTHER}, {OTHER}:8443",
    names: Names | None = None,
    internet: Internet | None = None,
    timeout_s: float = 20.0,
    max_bytes: int = 10_000,
    trusted: ssl.SSLContext | None = None,
) -> AsyncIterator[Fetcher]:
    """The real fetcher before this host."""
    fetcher = Fetcher(
        hosts,
        timeout_s=timeout_s,
        max_bytes=max_bytes,
        backend=CheckedBackend(names or Names(), internet or Internet(host)),
        trusted=trusted or host.trusted,
    )
    try:
        yield fetcher
    finally:
        await fetcher.close()
