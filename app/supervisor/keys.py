"""The file of keys as the supervisor reads it: at the start and at every reload. Who may call is app/access's."""

from __future__ import annotations

from pathlib import Path

from app.core.errors import KeysRefused
from app.runtime.control import Keys


def read_keys(path: Path) -> Keys:
    """Read and check the file. Raises KeysRefused, with the file's name, where it cannot be read or used."""
    # Only where there are keys: workers start after this.
    from app.access import parse_keys  # noqa: PLC0415
    from app.access.keys import MOST_BYTES  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8")
        keys = parse_keys(text)
    except OSError as error:
        raise KeysRefused(f"the file of keys {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysRefused(f"the file of keys {path} is not used: it is not UTF-8") from None
    except KeysRefused as error:
        raise KeysRefused(f"the file of keys {path} is not used: {error.detail}") from None
    return Keys(text, len(keys))
