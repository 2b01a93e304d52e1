"""Do two questions ask the same? Everything in docs/examples/questions.md.

    python examples/questions/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. pairs.csv was written for the project: questions to a town's service desk.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from running import ROOT, command, compare_items, run_in_folder, service, shipped  # noqa: E402 - the line above does it

PAIRS = HERE / "pairs.csv"


def example(folder: Path) -> None:
    """Calibrate the shipped bundle on pairs.csv, and compare questions that are not in it."""
    models, bundle = folder / "models", shipped("questions").relative_to(ROOT)
    words = ("--population", "40 questions to the service desk of a town, each asked in two ways", "--unit", "question")
    impostors = ("--impostor", "random=a question to another desk", "hard=another question to the same desk")
    command("calibrate", bundle, "--pairs", PAIRS.relative_to(ROOT), "--out", models, *words, *impostors)
    asked = {"text": "How do I pay for a parking ticket?"}
    same, near = {"text": "Where do I pay my parking ticket?"}, {"text": "Where do I buy a ticket for the museum?"}
    with service(models, folder) as url:
        compare_items(url, {"model": "questions", "a": asked, "b": same})
        compare_items(url, {"model": "questions", "a": asked, "b": near})
        compare_items(url, {"model": "questions", "a": asked, "b": near, "impostor": "random"})
        compare_items(url, {"model": "questions", "a": asked, "b": same, "max_fmr": 0.001})


if __name__ == "__main__":
    run_in_folder(example)
