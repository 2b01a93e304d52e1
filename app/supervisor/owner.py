"""Whom a fleet of workers answers to. No code."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

from app.core.observe import Readiness


class Owner(Protocol):
    """Who runs the fleet: judges what workers report, and hears what happens."""

    def readiness(self, serving: frozenset[str], workers_ready: int, *, swapping: bool) -> Readiness:
        """Say what every worker is to answer, given what the ready ones serve, and whether one has yet to switch."""

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Bundles that the fleet is to serve and a worker refused, key -> reason: serve others."""

    def changed(self) -> None:
        """A worker came up, became ready or went."""

    def returned(self, connections: list[socket.socket]) -> None:
        """Connections that a worker had not taken when it died: somebody else is to have them."""

    def say(self, line: str) -> None:
        """One line for the operator."""

    def give_up(self, line: str, *, hopeless: bool) -> None:
        """The service cannot go on; `hopeless` where the machine cannot run it at all."""
