"""Are two electrocardiograms of one person? Everything in docs/examples/heartbeats.md.

    python examples/heartbeats/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The people are invented; no heart made the recordings.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from beats import record, with_gap  # noqa: E402 - the line above makes it importable
from running import compare_items, run_in_folder, service, shipped  # noqa: E402

ANN, BEN = 1, 3


def example(folder: Path) -> None:
    """Serve the shipped bundle alone, and compare recordings of one and of two people."""
    models, bundle = folder / "models", shipped("heartbeat")
    shutil.copytree(bundle, models / "heartbeat" / bundle.name, dirs_exist_ok=True)
    ann = {"values": record(ANN, day=0, take=0), "rate": 500}
    pairs = {
        "same-day": {"values": record(ANN, day=0, take=1), "rate": 500},
        "other-day": {"values": record(ANN, day=1, take=0), "rate": 500},
        "other-person": {"values": record(BEN, day=0, take=0), "rate": 500},
        "other-rate": {"values": record(ANN, day=0, take=1, rate=360), "rate": 360},
        "short-gap": {"values": with_gap(record(ANN, day=0, take=1), start=3000, steps=20), "rate": 500},
        "long-gap": {"values": with_gap(record(ANN, day=0, take=1), start=3000, steps=200), "rate": 500},
    }
    with service(models, folder) as url:
        for name, other in pairs.items():
            compare_items(url, {"model": "heartbeat", "a": ann, "b": other}, folder / f"{name}.json")


if __name__ == "__main__":
    run_in_folder(example)
