"""`fill PAGE`: run the commands that a Markdown page names, and put the tables they print below them.

A command is a fenced block of `sh` that holds one line of this program, which backslashes may continue. The table below
its block is replaced by the one that the command prints now; blocks without a table below are run by whoever reads.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from model_export.errors import CommandError

PROGRAM = (["python", "-m", "model_export"], ["python", "-m", "model_export.results"])
BLOCK = re.compile(r"```sh\n(?P<command>(?:[^`\n]*\\\n)*[^`\n]*)\n```\n\n(?P<table>(?:\|.*\n)+)")


def fill(page: Path, matching: str) -> None:
    """Rewrite the page after each command whose text holds `matching`; what it prints beside tables is shown.

    Raises CommandError for a command that is none of this program's, fails or prints no table.
    """
    for command in [found["command"] for found in BLOCK.finditer(page.read_text("utf-8"))]:
        if matching not in command:
            continue
        table = _run(command)
        text = page.read_text("utf-8")  # anew, since the command may take long and the page be edited meanwhile
        old = next((found for found in BLOCK.finditer(text) if found["command"] == command), None)
        if old is not None:
            page.write_text(text[: old.start("table")] + table + text[old.end("table") :], "utf-8")


def _run(command: str) -> str:
    words = shlex.split(command.replace("\\\n", " "))
    if words[:3] not in PROGRAM:
        raise CommandError(f"{command!r} has a table below it, but is no command of this program")
    print(f"$ {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, *words[1:]], stdout=subprocess.PIPE, encoding="utf-8", check=False)
    lines = done.stdout.splitlines()
    print("\n".join(line for line in lines if not line.startswith("|")), flush=True)
    table = "".join(f"{line}\n" for line in lines if line.startswith("|"))
    if done.returncode or not table:
        raise CommandError(f"{shlex.join(words)}: status {done.returncode}" + ("" if table else " and no table"))
    return table
