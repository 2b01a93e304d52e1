"""Draw the pictures of this folder anew: `python examples/draw.py` from the repository's root.

They show characters invented for the project; no data set's item is among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from model_export.drawings import draw_character  # noqa: E402 - the line above makes it importable without installing

# File name -> character and hand: one_a and one_b are the same character by two hands, two is another.
PICTURES = {"one_a.png": (32, 1), "one_b.png": (32, 2), "two.png": (31, 2)}


def main() -> None:
    """Write every picture beside this script."""
    for name, (character, hand) in PICTURES.items():
        draw_character(character, hand).save(FOLDER / name, optimize=True)
        print(f"drew examples/{name}: character {character}, hand {hand}")


if __name__ == "__main__":
    main()
