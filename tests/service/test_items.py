"""What an item is, for every form, without HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.bundle import Bundle
from app.core.errors import InvalidRequest, UnsupportedMediaType
from app.core.modalities.base import Modality
from app.service.items import Blob, Content, read_item
from tests.tiny import make_tiny, open_tiny


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_tiny(calibrated=False)


class FormOnly:
    """A modality of another form; items are never decoded here, so the rest is not there."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.media_types: tuple[str, ...] = ()


def read(bundle: Bundle, form: str, raw: Any) -> Content:
    modality: Modality = FormOnly(form)  # type: ignore[assignment]  # only form and media_types are read
    item = read_item(raw, bundle, modality)
    assert isinstance(item, Content)
    return item


def test_decoded_bytes_travel_as_bytes_with_their_members(bundle: Bundle) -> None:
    item = read_item({"base64": "AAEC", "page": 2}, bundle, open_tiny(bundle).modality)
    assert isinstance(item, Content)
    assert item.item == {"bytes": b"\x00\x01\x02", "page": 2}
    assert item.size == 3


def test_text_and_values_pass_unread_with_their_members(bundle: Bundle) -> None:
    text = {"text": "grüß", "prefix": "query", "truncate": True}
    assert read(bundle, "text", text).item == text
    assert read(bundle, "text", text).size == 6
    values = {"values": [[1, None], [2.5, float("inf")]], "rate": 100}
    assert read(bundle, "values", values).item == values


def test_equal_items_have_equal_keys_and_others_do_not(bundle: Bundle) -> None:
    def key(form: str, raw: Any) -> Any:
        return read(bundle, form, raw).key

    assert key("text", {"text": "x", "truncate": True}) == key("text", {"truncate": True, "text": "x"})
    assert key("text", {"text": "x"}) != key("text", {"text": "x", "truncate": True})
    assert key("values", {"values": [[1.0]]}) == key("values", {"values": [[1.0]]})
    different = [[[1.0]], [[None]], [[float("inf")]], [[float("-inf")]], [[0.0]], [[-0.0]], [[1.0, 1.0]]]
    assert len({key("values", {"values": values}) for values in different}) == len(different)


def test_blob_is_taken_by_its_declared_type_and_the_models_form(bundle: Bundle) -> None:
    assert read(bundle, "text", Blob("é".encode(), "text/plain; charset=UTF-8")).item == {"text": "é"}
    assert read(bundle, "text", Blob(b"x", None)).item == {"text": "x"}
    for form, declared in (
        ("text", "application/octet-stream"),
        ("text", "image/png"),
        ("text", "text/plain; charset=latin-1"),
        ("values", "text/csv"),
        ("values", None),
    ):
        with pytest.raises(UnsupportedMediaType, match="UTF-8" if "latin" in (declared or "") else "application/json"):
            read(bundle, form, Blob(b"x", declared))
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        read(bundle, "text", Blob(b"\xff", "text/plain"))


@pytest.mark.parametrize(("form", "value"), [("text", 1), ("text", ["x"]), ("values", "1,2"), ("values", {"0": 1})])
def test_content_of_another_type_is_an_invalid_request(bundle: Bundle, form: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{form} must be"):
        read(bundle, form, {form: value})
