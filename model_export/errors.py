"""What stops an offline command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class CommandError(Exception):
    """The work cannot go on, and nothing was published; the message is one line."""


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Tell in one line which of the project's extras brings what an import inside does not find."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandError(f"needs the package {error.name!r}: install twinserve[{extra}]") from error
