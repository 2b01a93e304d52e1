"""Ink on paper: its shade, grain and light make no difference; what is not ink on paper is left alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.core.errors import UnusableInput
from app.core.modalities import create
from app.core.modalities.base import Limits
from app.core.modalities.image.contrast import whiten_paper
from model_export.drawings import draw_character
from tests.core.modalities.pictures import PARAMS, encoded

DRAWING = np.asarray(draw_character(4, 1)).astype(float) / 255


def shaded(ink: float, paper: float, grain: float = 0.0) -> Image.Image:
    """The drawing with these levels, and normal noise of this standard deviation."""
    levels = ink + DRAWING * (paper - ink) + np.random.default_rng(0).normal(0, grain or 1e-9, DRAWING.shape)
    return Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))


def array(picture: Image.Image) -> npt.NDArray[np.int64]:
    return np.asarray(picture).astype(np.int64)


def test_black_ink_on_white_paper_stays_bit_for_bit() -> None:
    drawing = draw_character(4, 1)
    assert np.array_equal(array(whiten_paper(drawing, 16)), array(drawing))


@pytest.mark.parametrize(("ink", "paper"), [(60, 230), (90, 170), (0, 200), (120, 255)])
def test_shades_of_ink_and_paper_become_black_and_white(ink: int, paper: int) -> None:
    whitened = array(whiten_paper(shaded(ink, paper), 16))
    assert np.abs(whitened - array(draw_character(4, 1))).max() <= 3  # rounding of the fewer levels


def test_grain_of_the_paper_becomes_white() -> None:
    whitened = array(whiten_paper(shaded(40, 210, grain=4), 16))
    paper = DRAWING == 1
    assert (whitened[paper] >= 245).mean() > 0.95
    assert whitened[DRAWING == 0].mean() < 15


@pytest.mark.parametrize("change", ["light on dark", "blank with grain", "one level"])
def test_what_is_no_ink_on_paper_is_left_as_it_is(change: str) -> None:
    picture = {
        "light on dark": Image.fromarray(255 - np.asarray(draw_character(4, 1))),
        "blank with grain": Image.fromarray(np.random.default_rng(0).integers(198, 203, (60, 60), dtype=np.uint8)),
        "one level": Image.new("L", (20, 20), 128),
    }[change]
    assert np.array_equal(array(whiten_paper(picture, 16)), array(picture))


def test_blank_paper_with_grain_is_still_refused_as_blank() -> None:
    grain = Image.fromarray(np.random.default_rng(0).integers(198, 203, (60, 60), dtype=np.uint8))
    with pytest.raises(UnusableInput, match="blank"):
        create("image", PARAMS | {"contrast": "paper"}, {}).prepare({"bytes": encoded(grain, "PNG")}, Limits())


def test_a_few_dark_specks_do_not_decide_what_ink_is() -> None:
    picture = shaded(120, 220)
    picture.putpixel((3, 3), 0)
    assert array(whiten_paper(picture, 16))[DRAWING == 0].max() <= 3
