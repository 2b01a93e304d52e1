"""`twinserve replay`: takes a recorded verdict again from items and bundle, and says whether it holds. No HTTP.

finding.py finds the record and the bundle, command.py goes through the steps and prints them.
"""

from app.replay.command import replay

__all__ = ["replay"]
