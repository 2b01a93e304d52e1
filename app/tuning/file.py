"""tuned.env: settings that a start reads from its state folder, and a note of what they were measured on."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from app.settings import PREFIX

_CPUS = "usable CPUs"


def render(settings: Mapping[str, int], *, when: datetime, cpu: str, cpus: int, bundles: Iterable[str]) -> str:
    """The text of the file; `settings` are named as Settings names them."""
    lines = [
        "# Written by `twinserve tune`; tune again where anything said here is no longer so.",
        f"# measured: {when:%Y-%m-%d %H:%M} UTC",
        f"# CPU: {cpu}",
        f"# {_CPUS}: {cpus}",
        f"# bundles: {', '.join(bundles)}",
        *(f"{PREFIX}{name.upper()}={value}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def write(file: Path, text: str) -> None:
    """Write all of the file or nothing of it, since a service may start at any time. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)  # no secret is in it, and who tunes need not be who serves
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def doubt(file: Path, cpus: int) -> str | None:
    """Say in one line that the file was measured with another number of CPUs than are usable now, or return None."""
    found = re.search(rf"^# {_CPUS}: (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None or int(found[1]) == cpus:
        return None
    return f"{file} was measured with {found[1]} usable CPUs and there are {cpus} now: run `twinserve tune` again"


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as the system tells it, else its architecture."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
