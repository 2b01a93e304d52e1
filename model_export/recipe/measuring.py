"""How a population is measured: what calibrate and evaluate ask of a recipe, or of a command line in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from model_export.recipe import Calibration


class Measuring(Protocol):
    """A recipe is one."""

    @property
    def calibration(self) -> Calibration:
        """What is compared with what, and the words of the evidence."""

    @property
    def seed(self) -> int:
        """Of the draws."""
