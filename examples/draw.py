"""Draw the pictures of this folder anew: `python examples/draw.py` from the repository's root.

They show characters invented for the project; no data set's item is among them. match.json is a request to /match with
the same pictures in it.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

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
    (FOLDER / "match.json").write_text(json.dumps(match_request(), indent=2) + "\n", "utf-8")
    print("wrote examples/match.json")


def match_request() -> dict[str, Any]:
    """Which of two characters on file is one_b, if any, with at most 5 false matches of other characters in 100?"""
    pictures = {name: {"base64": base64.b64encode((FOLDER / name).read_bytes()).decode()} for name in PICTURES}
    return {
        "probe": pictures["one_b.png"],
        "references": [
            {"id": "one", "items": [pictures["one_a.png"]]},
            {"id": "two", "items": [pictures["two.png"]]},
        ],
        "max_fmr": 0.05,
    }


if __name__ == "__main__":
    main()
