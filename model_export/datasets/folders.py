"""A folder of items: pictures, sounds, .txt or .json files in folders that say what they are.

`levels` names the folders from the outside in: ["identity"], ["group", "identity"], ["unit", "identity"]. A folder of
one name inside two others is two things, but for split and source, which are the same wherever they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from model_export.datasets.item_files import FORM_OF, SUFFIXES, read_item
from model_export.datasets.listing import Found, Listing, list_items
from model_export.errors import CommandError
from model_export.recipe.own_data import FolderData


def read_folder(beside: Path, data: FolderData, modality: str) -> Listing:
    """The items of `data.folder`, in the order of their paths; files that are no items of `modality` are told.

    Raises CommandError for a missing folder, and for a file that does not lie in as many folders as `levels` names.
    """
    root = beside / data.folder
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder; data.folder is looked for beside the recipe file")
    return list_items(_find(root, data.levels, modality), str(root))


def find_files(root: Path, modality: str) -> Iterator[Path]:
    """The files below `root` that are items of the modality, in the order of their paths, hidden ones never; at the
    end what else there is is told. Raises CommandError for a name that is not UTF-8.
    """
    unused: Counter[str] = Counter()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts) or path.is_dir():
            continue
        if not _is_utf8(str(inside)):
            raise CommandError(f"{root}: {str(inside)!a}: its name is not written in UTF-8; rename it")
        if path.suffix.lower() in SUFFIXES[modality]:
            yield path
        else:
            unused[path.suffix.lower() or path.name] += 1
    for kind, count in unused.items():
        print(f"{count} files {kind} are not used: no items of the modality {modality}")


def _find(root: Path, levels: Sequence[str], modality: str) -> Iterator[Found]:
    for path in find_files(root, modality):
        inside = path.relative_to(root)
        if len(inside.parts) != len(levels) + 1:
            raise CommandError(
                f"{path}: lies in {len(inside.parts) - 1} folders below {root}, and data.levels names {len(levels)}"
            )
        yield Found(str(inside), partial(read_item, path, FORM_OF[modality]), **_say(inside.parts[:-1], levels))


def _is_utf8(name: str) -> bool:
    """Whether a name of the file system can be written to a list: Python keeps other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _say(folders: Sequence[str], levels: Sequence[str]) -> dict[str, str]:
    """What the folders say: group and unit by their own name and that of the folders they stand in."""
    said = dict(zip(levels, folders, strict=True))
    around: list[str] = []
    for level, name in zip(levels, folders, strict=True):
        if level not in ("split", "source"):
            around.append(name)
            said[level] = "/".join(around)
    return said
