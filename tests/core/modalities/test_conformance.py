"""What every modality promises, whichever it is. Modalities are found by themselves; one without a case here fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pytest

from app.core import modalities
from app.core.errors import BundleRefused, InvalidRequest, TooLarge, TwinserveError
from app.core.modalities.base import FORMS, Item, Limits, Modality
from tests.core.modalities import pictures, recordings, sounds, texts


@dataclass(frozen=True)
class Case:
    """Params, assets, and items that the modality takes under them."""

    params: Mapping[str, Any]
    assets: Mapping[str, bytes]
    items: Sequence[Item]

    def make(self, name: str) -> Modality:
        return modalities.create(name, self.params, self.assets)


CASES = {
    "image": Case(
        pictures.PARAMS,
        {},
        [{"bytes": pictures.encoded(pictures.noise(50, 30, seed), form)} for seed, form in enumerate(("PNG", "JPEG"))],
    ),
    "text": Case(texts.PARAMS, {"tokenizer.json": texts.bpe()}, [{"text": text} for text in texts.TEXTS[:6]]),
    "audio": Case(
        sounds.PARAMS,
        {},
        [
            {"bytes": sounds.encoded(sounds.speechlike(seconds), form)}
            for seconds, form in ((0.4, "WAV"), (1.7, "FLAC"))
        ],
    ),
    "series": Case(
        recordings.PARAMS, {}, [{"values": recordings.ecg(seed=seed).tolist(), "rate": 250.0} for seed in (0, 1)]
    ),
}

every_modality = pytest.mark.parametrize("name", modalities.names())


@every_modality
def test_a_model_states_no_laxer_limit_than_the_service(name: str) -> None:
    modality = CASES[name].make(name)
    for given in (Limits(), Limits(1000, 1000, 0.01, 1)):
        narrowed = modality.narrow(given)
        assert all(own <= most for own, most in zip(astuple(narrowed), astuple(given), strict=True))
    assert modality.narrow(modality.narrow(Limits())) == modality.narrow(Limits())


@every_modality
def test_every_modality_has_a_case_and_names_a_form(name: str) -> None:
    modality = CASES[name].make(name)
    assert modality.form in FORMS
    assert all(prefix == prefix.lower() for prefix in modality.media_types)


@every_modality
def test_preparation_is_deterministic_bit_for_bit(name: str) -> None:
    one, other = CASES[name].make(name), CASES[name].make(name)
    for item in CASES[name].items:
        first, second = one.prepare(item, Limits()), other.prepare(item, Limits())
        assert first.notices == second.notices
        for a, b in zip(first.windows, second.windows, strict=True):
            assert {key: value.tobytes() for key, value in a.items()} == {key: b[key].tobytes() for key in b}


@every_modality
def test_windows_of_one_bucket_collate_as_they_do_alone(name: str) -> None:
    modality = CASES[name].make(name)
    windows = [window for item in CASES[name].items for window in modality.prepare(item, Limits()).windows]
    for bucket in {modality.bucket(window) for window in windows}:
        same = [window for window in windows if modality.bucket(window) == bucket]
        together = modality.collate(same)
        for place, window in enumerate(same):
            alone = modality.collate([window])
            for key, rows in together.items():
                assert len(rows) == len(same)
                np.testing.assert_array_equal(rows[place], alone[key][0])


@every_modality
def test_examples_are_one_a_bucket_and_cover_what_items_need(name: str) -> None:
    modality = CASES[name].make(name)
    buckets = [modality.bucket(window) for window in modality.examples()]
    assert len(buckets) == len(set(buckets)) <= 16
    for item in CASES[name].items:
        for window in modality.prepare(item, Limits()).windows:
            assert modality.bucket(window) in buckets
            example = modality.examples()[buckets.index(modality.bucket(window))]
            shapes = [{k: (v.shape, v.dtype) for k, v in modality.collate([one]).items()} for one in (window, example)]
            assert shapes[0] == shapes[1]


@every_modality
def test_summaries_are_a_few_finite_numbers_of_one_length(name: str) -> None:
    modality = CASES[name].make(name)
    summaries = [
        modality.summarize(window) for item in CASES[name].items for window in modality.prepare(item, Limits()).windows
    ]
    summaries += [modality.summarize(window) for window in modality.examples()]
    assert len({summary.shape for summary in summaries}) == 1
    assert all(summary.dtype == np.float32 and summary.ndim == 1 for summary in summaries)
    assert np.isfinite(summaries).all()


@every_modality
def test_unknown_members_and_params_are_refused_by_name(name: str) -> None:
    modality = CASES[name].make(name)
    with pytest.raises(InvalidRequest, match="colour_of_the_sky"):
        modality.prepare({**CASES[name].items[0], "colour_of_the_sky": 1}, Limits())
    with pytest.raises(BundleRefused, match="colour_of_the_sky"):
        modalities.create(name, {**CASES[name].params, "colour_of_the_sky": 1}, CASES[name].assets)


@every_modality
def test_an_item_without_content_gets_a_documented_error(name: str) -> None:
    modality = CASES[name].make(name)
    member = "bytes" if modality.form == "base64" else modality.form
    empty = {"bytes": b"", "text": "", "values": []}[member]
    with pytest.raises(TwinserveError):
        modality.prepare({member: empty}, Limits())
    with pytest.raises(InvalidRequest):
        modality.prepare({}, Limits())


@every_modality
def test_limits_are_kept(name: str) -> None:
    modality = CASES[name].make(name)
    tight = Limits(max_body_bytes=20, max_pixels=10, max_seconds=0.01, max_tokens=1)
    for item in CASES[name].items:
        with pytest.raises(TooLarge):
            modality.prepare(item, tight)


def test_unknown_modality_is_refused_and_base_is_none() -> None:
    for name in ("base", "os", "..image", "smell"):
        with pytest.raises(BundleRefused, match="is unknown"):
            modalities.create(name, {}, {})


LIGHT = """
import sys
for absent in {absent}:
    sys.modules[absent] = None
import app.main
from app.core import modalities
from app.core.errors import BundleRefused
try:
    modalities.create({name!r}, {{}}, {{}})
except BundleRefused as error:
    print(error.detail)
"""


@pytest.mark.parametrize(
    ("name", "absent", "said"),
    [
        ("text", ["PIL", "soundfile", "soxr"], "modality.params"),
        ("series", ["PIL", "soundfile", "tokenizers"], "modality.params"),
        ("image", ["PIL"], "which is not installed"),
        ("text", ["tokenizers"], "which is not installed"),
        ("audio", ["soundfile"], "which is not installed"),
    ],
)
def test_a_modality_needs_its_own_libraries_only(name: str, absent: list[str], said: str) -> None:
    code = LIGHT.format(name=name, absent=absent)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert said in run.stdout
