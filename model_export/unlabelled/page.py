"""The page of questions: one HTML file that shows the pairs, takes the answers, and gives the sheet back filled in.

It loads nothing and sends nothing; the answers leave it as a file that the browser saves.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple

from app.core.modalities.base import Item
from model_export.report import STYLE
from model_export.showing import show_item
from model_export.unlabelled.sheet import COLUMNS, Question

CHOICES = (("1", "match"), ("0", "no match"), ("?", "cannot tell"))
SCRIPT = """
const [columns, rows] = JSON.parse(document.getElementById("sheet").textContent);
const place = columns.indexOf("match");
const cell = text => /[",\\n\\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
const count = () => {
  const left = document.querySelectorAll("form").length - document.querySelectorAll("input:checked").length;
  document.getElementById("left").textContent = left ? left + " to go" : "all answered";
};
document.addEventListener("change", count);
document.getElementById("save").addEventListener("click", () => {
  for (const one of document.querySelectorAll("input:checked")) rows[one.name][place] = one.value;
  const text = [columns, ...rows].map(row => row.map(value => cell(String(value))).join(",")).join("\\n") + "\\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = document.body.dataset.file;
  link.click();
});
count();
"""


def write_page(
    questions: Sequence[Question], items: Sequence[tuple[Item, Item]], modality: str, match_means: str, file: str
) -> str:
    """The page of a sheet: what is not answered yet is shown, with its two `items`; `file` is what the sheet is called.

    match_means: what two matching items have in common, as the manifest says.
    """
    return "\n".join(_lines(questions, items, modality, match_means, file))


def _lines(
    questions: Sequence[Question], items: Sequence[tuple[Item, Item]], modality: str, match_means: str, file: str
) -> Iterator[str]:
    sheet = json.dumps([COLUMNS, [list(map(str, astuple(one))) for one in questions]]).replace("<", "\\u003c")
    asked = f"Are these two <b>{html.escape(match_means)}</b>?"
    yield "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    yield f"<title>Do these match?</title><style>{STYLE} form{{margin-top:.5rem}} label{{margin-right:1rem}}</style>"
    yield f"<body data-file='{html.escape(file, quote=True)}'><h1>Do these match?</h1><p>{asked}</p>"
    yield (
        f"<p>Judge by what you see and know, not by how alike they look to a machine. Then save, put the file in the "
        f"place of <code>{html.escape(file)}</code>, and run the command again with it.</p>"
        "<p><button id='save'>Save the answers</button> <span id='left'></span></p><div class='pairs'>"
    )
    for place, (one, (a, b)) in enumerate(zip(questions, items, strict=True)):
        if one.match:
            continue
        radios = "".join(
            f"<label><input type='radio' name='{place}' value='{value}'> {words}</label>" for value, words in CHOICES
        )
        yield (
            f"<figure><div class='pair'>{show_item(modality, a)}{show_item(modality, b)}</div>"
            f"<form>{radios}</form><figcaption>{one.number}</figcaption></figure>"
        )
    yield f"</div><script type='application/json' id='sheet'>{sheet}</script><script>{SCRIPT}</script></body></html>\n"
