"""Splitting a multipart/form-data body that is in memory into its parts (RFC 7578). Parts keep their bytes unread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import InvalidRequest, TooLarge

# The parser logs every malformed body as a warning; the caller is told, and the log is not theirs to fill.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its name, its bytes, and the media type it declares, if any."""

    name: str
    data: bytes
    media_type: str | None


def split_parts(body: bytes, boundary: bytes | None, names: Sequence[str], max_parts: int) -> list[Part]:
    """The parts in order. Raises InvalidRequest for a body that cannot be split or a part not in `names`, TooLarge
    beyond `max_parts`.
    """
    if not boundary:
        raise InvalidRequest("multipart/form-data needs its boundary in the Content-Type")
    collector = _Collector(names, max_parts)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_headers_finished": collector.headers_finished,
                "on_part_data": collector.data,
                "on_part_end": collector.end,
                "on_end": collector.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InvalidRequest("the multipart body cannot be read; send it as RFC 7578 says") from None
    if not collector.finished:
        raise InvalidRequest("the multipart body is cut short: its last boundary is missing")
    return collector.parts


class _Collector:
    """Gathers the parser's events into parts."""

    def __init__(self, names: Sequence[str], max_parts: int) -> None:
        self.parts: list[Part] = []
        self.finished = False
        self._names = names
        self._max_parts = max_parts

    def begin(self) -> None:
        if len(self.parts) == self._max_parts:
            raise TooLarge(f"the request has more than {self._max_parts} parts; split it")
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._name = ""
        self._chunks: list[bytes] = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or name not in self._names:
            taken = " and ".join(map(repr, self._names))
            raise InvalidRequest(f"the only parts taken here are {taken}; other fields are query parameters")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise InvalidRequest("send parts as they are, without Content-Transfer-Encoding", pointer=f"/{name}")
        self._name = name

    def data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def end(self) -> None:
        media_type = self._headers.get(b"content-type")
        declared = None if media_type is None else media_type.decode("latin-1").strip() or None
        self.parts.append(Part(self._name, b"".join(self._chunks), declared))

    def finish(self) -> None:
        self.finished = True
