"""What is done to a text before the tokenizer sees it: cheap checks, each of which bounds the next step, then Unicode
normalisation. No tokens here.
"""

from __future__ import annotations

import unicodedata

from app.core.errors import InvalidRequest, TooLarge, UnusableInput
from app.core.modalities.text.params import UnicodeForm

CHARACTERS_PER_TOKEN = 16
"""Characters taken for each token of a limit. Languages need two to six a token, so that the limit in tokens bites
first; but counting tokens costs time, and counting characters none."""
MAX_MARKS = 30
"""Combining marks in a row, as in Unicode's Stream-Safe Text Format (UAX 15, section 13). Writing systems need a few;
CPython sorts a run of them in quadratic time: 130,000 marks take half a minute to normalise."""
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of controls, format characters and spaces: a text of these alone shows nothing."""


def normalised(text: str, form: UnicodeForm, max_tokens: int) -> str:
    """Check a text against a limit in tokens, by its characters, and bring it to its Unicode form.

    Raises TooLarge beyond the limit, before and after normalisation; InvalidRequest for unpaired surrogates, as for
    bytes that are not UTF-8, since it is the same fault; UnusableInput for NUL and for endless combining marks. Other
    control characters stay: what becomes of them is the tokenizer's choice.
    """
    _check_length(text, max_tokens)
    try:
        text.encode()
    except UnicodeEncodeError:
        # not chained, since that error holds the text
        raise InvalidRequest("the text holds unpaired surrogates: repair its encoding and send Unicode text") from None
    if "\0" in text:
        raise UnusableInput("the text holds NUL characters, as binary data and misread UTF-16 do: send plain text")
    if not text.isascii():
        _check_marks(text)
    if form != "none":
        text = unicodedata.normalize(form, text)
        _check_length(text, max_tokens)  # NFKC makes up to 18 characters of one
    return text


def is_blank(text: str) -> bool:
    """Whether a text is empty or shows nothing: spaces, controls, zero-width characters."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def _check_length(text: str, max_tokens: int) -> None:
    most = max_tokens * CHARACTERS_PER_TOKEN
    if len(text) > most:
        raise TooLarge(f"the text has {len(text)} characters; at most {most} are taken: shorten it")


def _check_marks(text: str) -> None:
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            raise UnusableInput(f"the text holds more than {MAX_MARKS} combining marks in a row: remove them")
