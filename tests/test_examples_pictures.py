"""The pictures in examples/ and the golden probes: drawn by model_export/drawings.py, and fit for their purpose."""

from __future__ import annotations

import json
import runpy
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from model_export.drawings import draw_character, probe_files
from model_export.probes.pictures import photograph, probe_photographs
from tests.core.modalities.pictures import pixels

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_shipped_pictures_are_the_ones_the_script_draws() -> None:
    pictures = runpy.run_path(str(EXAMPLES / "draw.py"))["PICTURES"]
    assert {path.name for path in EXAMPLES.glob("*.png")} == set(pictures)
    for name, (character, hand) in pictures.items():
        with Image.open(EXAMPLES / name) as shipped:
            assert shipped.width != shipped.height  # a square example would hide a wrong preparation
            assert np.array_equal(np.asarray(shipped), np.asarray(draw_character(character, hand))), name


def test_shipped_request_is_the_one_the_script_writes() -> None:
    request = runpy.run_path(str(EXAMPLES / "draw.py"))["match_request"]()
    assert json.loads((EXAMPLES / "match.json").read_text("utf-8")) == request


def test_same_numbers_draw_the_same_picture_and_another_hand_another() -> None:
    first, again, other = (np.asarray(draw_character(5, hand)) for hand in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_probes_cover_what_a_wrong_preparation_would_get_wrong() -> None:
    formats, modes, square, turned = set(), set(), 0, 0
    for data in probe_files():
        with Image.open(BytesIO(data)) as picture:
            formats.add(picture.format)
            modes.add(picture.mode)
            square += picture.width == picture.height
            turned += picture.getexif().get(0x0112, 1) != 1
    assert formats == {"PNG", "JPEG", "WEBP", "BMP", "TIFF"}
    assert modes >= {"L", "1", "P", "RGB", "RGBA", "I;16"}
    assert square <= 1
    assert turned >= 2


def test_every_probe_shows_dark_ink_on_light_paper_and_no_two_are_alike() -> None:
    prepared = [pixels(data) for data in probe_files()]
    assert len({one.tobytes() for one in prepared}) == len(prepared)
    for one in prepared:
        assert np.median(one) > 240
        assert one.min() < 110


def test_photographs_are_computed_alike_each_time_and_no_two_are_alike() -> None:
    assert np.array_equal(np.asarray(photograph(1)), np.asarray(photograph(1)))
    pictures = []
    for data in probe_photographs():
        with Image.open(BytesIO(data)) as picture:
            pictures.append(np.asarray(picture.convert("L").resize((32, 32))))
    assert len({one.tobytes() for one in pictures}) == len(pictures)
    assert all(np.ptp(one) > 60 for one in pictures)
