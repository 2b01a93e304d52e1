"""A signature on file against a new one: everything in docs/examples/signatures.md.

    python examples/signatures/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The writers are invented; the encoder is the shipped one.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from hands import forge, sign  # noqa: E402 - the line above makes it importable
from running import ROOT, command, compare_files, run_in_folder, service, shipped  # noqa: E402

WRITERS, TIMES, FORGERS = 24, 2, 4
"""What is calibrated on: each writer signs twice, and four other writers imitate each."""
NEW = WRITERS
"""A writer in no row of the table."""


def example(folder: Path) -> None:
    """Draw signatures, calibrate the shipped encoder on them, and compare new signatures with those on file."""
    print("The signatures are drawn by numpy: nobody signed anything.")
    make(folder)
    models, bundle = folder / "models", shipped("signatures").relative_to(ROOT)
    words = ("--population", "drawn signatures of 24 invented writers", "--unit", "writer")
    impostors = ("--impostor", "random=the own signature of another writer", "skilled=an imitation by another writer")
    command("calibrate", bundle, "--pairs", folder / "pairs.csv", *words, *impostors, "--out", models)
    with service(models, folder) as url:
        first, second, new = (folder / own(NEW, time) for time in range(3))
        compare_files(url, first, new, model="signatures")
        compare_files(url, first, folder / forged(NEW, 0), model="signatures")
        compare_files(url, first, folder / forged(NEW, 0), model="signatures", impostor="random")
        print("\nTwo references, a match with either counts: held to 0.1 each, to 0.2 together")
        for reference in (first, second):
            compare_files(url, reference, new, model="signatures", max_fmr=0.1)


def make(folder: Path) -> None:
    """Write the pictures of all writers, and pairs.csv with those of all but the new one."""
    signed = [*itertools.product(range(WRITERS), range(TIMES)), *((NEW, time) for time in range(3))]
    for writer, time in signed:
        sign(writer, time).save(folder / own(writer, time))
    for writer, forger in imitations():
        forge(writer, forger).save(folder / forged(writer, forger))
    forge(NEW, 0).save(folder / forged(NEW, 0))
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "label", "impostor", "unit_a", "unit_b"])
        for a, b in itertools.combinations(itertools.product(range(WRITERS), range(TIMES)), 2):
            same = a[0] == b[0]
            table.writerow([own(*a), own(*b), int(same), "" if same else "random", f"w{a[0]}", f"w{b[0]}"])
        for (writer, forger), time in itertools.product(imitations(), range(TIMES)):
            table.writerow([own(writer, time), forged(writer, forger), 0, "skilled", f"w{writer}", f"w{forger}"])


def imitations() -> list[tuple[int, int]]:
    """Who is imitated by whom."""
    return [(writer, (writer + step) % WRITERS) for writer in range(WRITERS) for step in range(1, FORGERS + 1)]


def own(writer: int, time: int) -> str:
    """The file of a writer's own signature."""
    return f"writer-{writer:02d}-{time}.png"


def forged(writer: int, forger: int) -> str:
    """The file of an imitation."""
    return f"writer-{writer:02d}-imitated-by-{forger:02d}.png"


if __name__ == "__main__":
    run_in_folder(example)
