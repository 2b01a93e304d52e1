"""What stops an offline command."""

from __future__ import annotations


class CommandError(Exception):
    """The work cannot go on, and nothing was published; the message is one line."""
