"""Whether a worker hangs, told from its heartbeat. Pure: no processes, no clock.

The supervisor looks as often as a worker beats, and counts looks: a supervisor that was stopped itself looks once
when it goes on, and holds nothing against anyone. See app/runtime/heart.py.
"""

from __future__ import annotations

from app.runtime.heart import beats_in

QUIET_AFTER = 3
"""Looks in a row without a sign of life after which a worker gets no connections while another is livelier."""


class Watch:
    """What was heard of one worker; `watchdog_s` is how long it may hang, 0 for ever."""

    def __init__(self, watchdog_s: float) -> None:
        self._watchdog_s = watchdog_s
        self._patience = beats_in(watchdog_s) if watchdog_s else 0
        self._silent_looks = 0
        self._batch_beats = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing was heard for a few looks."""
        return self._silent_looks >= QUIET_AFTER

    def heard(self, batch_beats: int | None = None) -> None:
        """A message came from the worker; a beat says for how many the oldest batch has been under way."""
        self._silent_looks = 0
        if batch_beats is not None:
            self._batch_beats = batch_beats

    def look(self, *, loading: bool = False) -> str | None:
        """Count one look; return why the worker counts as hung, or None.

        One that loads a model may be silent: the engine does not let go of Python meanwhile.
        """
        if not loading:
            self._silent_looks += 1
        if self._patience and self._silent_looks > self._patience:
            return f"no sign of life for {self._watchdog_s:g} s"
        if self._patience and self._batch_beats > self._patience:
            return f"one batch has been running for {self._watchdog_s:g} s"
        return None
