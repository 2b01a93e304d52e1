"""Do two recordings say the same word? Everything in docs/examples/spoken-words.md.

    python examples/spoken-words/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. Words and voices are invented; the bundle that ships knows English digits.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from running import compare_files, run_in_folder, service, shipped  # noqa: E402 - the line above makes it importable
from words import say, silence  # noqa: E402

RECORDINGS = {
    "iau-one.wav": say("iau", 1),
    "iau-two.wav": say("iau", 2, rate=44100),
    "uei-one.wav": say("uei", 1),
    "silence.wav": silence(),
}


def example(folder: Path) -> None:
    """Serve the shipped bundle alone, and compare what invented voices say."""
    models = folder / "models"
    bundle = shipped("digits")
    shutil.copytree(bundle, models / "digits" / bundle.name, dirs_exist_ok=True)
    for name, data in RECORDINGS.items():
        (folder / name).write_bytes(data)
    one, two, other, nothing = (folder / name for name in RECORDINGS)
    with service(models, folder) as url:
        compare_files(url, one, two, model="digits")
        compare_files(url, one, two, model="digits", threshold=0.5)
        compare_files(url, one, other, model="digits", threshold=0.5)
        compare_files(url, one, two, model="digits", max_fmr=0.1)
        compare_files(url, one, nothing, model="digits")


if __name__ == "__main__":
    run_in_folder(example)
