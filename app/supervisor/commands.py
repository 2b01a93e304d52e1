"""The socket in the state folder by which `twinserve reload` asks the running service, both ends of it. No models.

A command is one line, the answer one JSON object: the lines to print and whether anything was refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

SOCKET_FILE = "control.sock"
RELOAD = b"reload\n"
DONE, UNABLE, REFUSED = 0, 2, 3


@dataclass(frozen=True, slots=True)
class Report:
    """What a reload did, a line each, and whether anything was refused and what ran before goes on in its place."""

    lines: tuple[str, ...]
    refused: bool = False


@contextlib.asynccontextmanager
async def listening(state: Path, reload: Callable[[], Awaitable[Report]]) -> AsyncIterator[None]:
    """Answer commands for as long as the context lasts. Raises OSError where the socket cannot be made.

    Only the user that the service runs as can connect.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # whoever asked has gone, or sends no line at all
            if await reader.readline() == RELOAD:
                report = await reload()
                writer.write(json.dumps({"lines": report.lines, "refused": report.refused}).encode() + b"\n")
                await writer.drain()
        writer.close()

    path = state / SOCKET_FILE
    path.unlink(missing_ok=True)  # of a service that was killed: the lock of the folder is ours
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(path))
        try:
            path.chmod(0o600)  # nobody can connect before it listens
            own.setblocking(False)
            server = await asyncio.start_unix_server(answer, sock=own)
            try:
                yield
            finally:
                server.close()
        finally:
            path.unlink(missing_ok=True)


def ask_to_reload(state: Path | None) -> int:
    """Have the service on this state folder read its models again, print what came of it, and return the exit code.

    0 where all is served that is in the folder, 3 where something was refused and what ran before goes on, 2 where no
    service could be asked.
    """
    if state is None:
        return _unable("TWINSERVE_STATE_DIR is not set: set it as for the service, or send the service SIGHUP")
    try:
        with socket.socket(socket.AF_UNIX) as service:
            service.connect(str(state / SOCKET_FILE))
            service.sendall(RELOAD)
            with service.makefile("rb") as answers:
                answer = answers.readline()
    except OSError as error:
        return _unable(f"no service answers in {state} ({error.strerror or error})")
    if not answer:
        return _unable("the service ended before it had reloaded")
    report = json.loads(answer)
    for line in report["lines"]:
        print(line)
    return REFUSED if report["refused"] else DONE


def _unable(reason: str) -> int:
    print(f"twinserve: reload: {reason}", file=sys.stderr, flush=True)
    return UNABLE
