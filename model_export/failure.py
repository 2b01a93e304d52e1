"""What stops an offline command: one line for a person, no trace."""

from __future__ import annotations


class Failure(Exception):
    """The work cannot go on, and nothing was published; the message is one line."""
