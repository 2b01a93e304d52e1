"""report.html stands alone and runs nothing; items of every kind are shown in it, or said not to be."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import soundfile
from PIL import Image

from app.core.evidence import GenuineScores, PairScores, Rate, Units
from model_export.calibration_loss import measure_losses
from model_export.comparing import Scores
from model_export.drawings import draw_character
from model_export.figures import Sampled, draw_samples
from model_export.probes.audio import utter
from model_export.report import Report, Table, write_report
from model_export.robustness.measuring import Worn
from model_export.showing import MOST, show_hardest, show_item
from tests.tiny import tiny_calibration

EMPTY = {"img", "meta", "polyline", "br"}


@dataclass
class Page(HTMLParser):
    """What a page is made of. Fails where a tag closes another."""

    open: list[str] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def read(page: bytes) -> Page:
    parsed = Page()
    parsed.feed(page.decode())
    parsed.close()
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="module")
def sampled() -> Sampled:
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(30, 1)
    genuine = GenuineScores(rng.normal(0.8, 0.1, 90).clip(-1, 1).astype(np.float32), np.repeat(np.arange(30), 3))
    impostors = PairScores(rng.normal(0.2, 0.2, len(a)).clip(-1, 1).astype(np.float32), a, b)
    return draw_samples(Scores(Units(30), genuine, {"random": impostors}), draws=1000, seed=0)


@pytest.fixture(scope="module")
def files(sampled: Sampled) -> dict[str, bytes]:
    rate = Rate(value=0.1, low=0.05, high=0.2)
    worn = [Worn("blur", "%", None, 0.0, rate, rate), Worn("blur", "%", 4, 0.5, rate, rate)]
    losses = measure_losses(tiny_calibration(), sampled, seed=0)
    tables: list[Table] = [
        ("A <first> & heading", [("column", "<b>"), ("1", "0.1 [0.05, 0.2]")]),
        ("Second", [("a",), ("b",)]),
    ]
    point = {"name": "fmr_1e-2", "impostor": "random", "threshold": 0.6, "default": True}
    report = Report("x@1.0.0", "Measured on <these>.", tables, [point], sampled, losses, {"x": worn}, "<p>pairs</p>")
    return write_report(report)


def test_the_page_needs_nothing_but_itself_and_runs_nothing(files: dict[str, bytes]) -> None:
    page = read(files["report.html"])
    assert {tag for tag, _ in page.seen} & {"script", "link", "iframe", "object", "base", "form"} == set()
    for _, attributes in page.seen:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href") or str(value).startswith("data:image/png;base64,")
    assert not re.search(rb"https?://|@import|url\(", files["report.html"])


def test_every_picture_is_in_the_page_and_beside_it(files: dict[str, bytes]) -> None:
    pictures = [str(one["alt"]) for one in read(files["report.html"]).all("img")]
    assert pictures == ["det.png", "histogram.png", "reliability.png", "robustness.png"]
    for name in pictures:
        assert min(Image.open(BytesIO(files[name])).size) > 300


def test_the_same_measurement_gives_the_same_page(files: dict[str, bytes], sampled: Sampled) -> None:
    bare = Report("x@1.0.0", "", [("One", [("a",)])], [], sampled)
    first, second = write_report(bare), write_report(bare)
    assert first == second
    assert set(first) == {"report.html", "det.png", "histogram.png"}  # no ratio, no wear, no pairs
    assert "Hardest" not in first["report.html"].decode()
    assert files["det.png"] != first["det.png"]  # the operating points are marked


def test_what_is_told_is_escaped(files: dict[str, bytes]) -> None:
    page = read(files["report.html"])
    said = "".join(page.text)
    for words in ("A <first> & heading", "<b>", "Measured on <these>.", "0.1 [0.05,\u00a00.2]", "docs/evaluating.md"):
        assert words in said
    assert page.all("b") == []


def sound(seconds: float) -> bytes:
    file = BytesIO()
    soundfile.write(file, utter(1, seconds, 8000), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def picture(mode: str) -> bytes:
    file = BytesIO()
    draw_character(1, 1, (300, 200)).convert(mode).save(file, "TIFF" if mode == "CMYK" else "PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "CMYK"])
def test_pictures_are_shown_small(mode: str) -> None:
    (image,) = read(show_item("image", {"bytes": picture(mode)}).encode()).all("img")
    data = str(image["src"]).removeprefix("data:image/png;base64,")
    assert max(Image.open(BytesIO(base64.b64decode(data))).size) == 120


def test_texts_are_shown_as_text_and_cut_where_they_are_long() -> None:
    page = read(show_item("text", {"text": "<script>alert(1)</script> & so on"}).encode())
    assert page.text == ["<script>alert(1)</script> & so on"]
    assert [tag for tag, _ in page.seen] == ["q"]
    assert len(show_item("text", {"text": "a" * 5000})) < 500


def test_series_and_sounds_are_drawn_from_end_to_end() -> None:
    values = [[float(np.sin(step / 9)), None, 3.0, 1.0] for step in range(1000)]
    lines = read(show_item("series", {"values": values, "rate": 100}).encode()).all("polyline")
    assert len(lines) == 2  # of the first three channels one has no value
    (wave,) = read(show_item("audio", {"bytes": sound(0.5)}).encode()).all("polyline")
    places = [float(point.split(",")[0]) for point in str(wave["points"]).split()]
    assert (min(places), max(places)) == (0.0, 240.0)


def test_what_cannot_be_drawn_is_said() -> None:
    assert "not drawn" in show_item("image", {"bytes": b"no picture"})
    assert "not drawn" in show_item("audio", {"bytes": b""})
    assert "not drawn" in show_item("smell", {"bytes": b""})


def test_hardest_pairs_are_called_what_they_are_at_the_threshold() -> None:
    rows = [{"kind": "genuine", "score": "0.2", "item_a": "1", "item_b": "2"}] * 9
    rows += [{"kind": "genuine", "score": "0.9", "item_a": "3", "item_b": "4"}]
    rows += [{"kind": "hard", "score": f"{score}", "item_a": "5", "item_b": "6"} for score in (0.8, 0.1)]
    items = {str(number): {"text": f"text {number}"} for number in range(7)}
    said = show_hardest("text", rows, lambda row: (items[row["item_a"]], items[row["item_b"]]), 0.5)
    assert said.count("false non-match") == MOST
    assert said.count("false match") == 1
    assert said.count("judged right") == 1
    assert "Impostors of type hard that score highest" in said
    assert said.index("text 1") < said.index("text 5")
    without = show_hardest("text", rows, lambda row: (items[row["item_a"]], items[row["item_b"]]), None)
    assert "judged" not in without
    assert "false" not in without
