"""What the worked examples share: run a command of the offline half, serve a folder of bundles, ask it about a pair.

Each prints what one would type to do the same by hand.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.core.bundle.manifest import version_key  # noqa: E402 - the line above makes it importable without installing
from model_export.__main__ import main  # noqa: E402

WAIT_S = 60.0
Answer = dict[str, Any]


def run_in_folder(example: Callable[[Path], None]) -> None:
    """Run an example in the folder that the command line names, or in a temporary one."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1]).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        example(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="twinserve-example-") as temporary:
            example(Path(temporary))


def shipped(name: str) -> Path:
    """The newest version of a bundle that ships; its absence ends the example."""
    versions = sorted((ROOT / "models" / name).glob("*.*.*"), key=lambda folder: version_key(folder.name))
    if not versions:
        sys.exit(f"models/{name} is not there")
    return versions[-1]


def command(*arguments: str | Path) -> None:
    """Run `python -m model_export`, in this process; its own words are shown, and its failure ends the example."""
    print(f"\n$ python -m model_export {shlex.join(map(str, arguments))}", flush=True)
    if status := main([str(one) for one in arguments]):
        sys.exit(status)


@contextmanager
def service(models: Path, folder: Path) -> Iterator[str]:
    """Serve a folder of bundles with one worker on a free port; gives its address once it is ready.

    Its log goes to service.log in `folder`.
    """
    # Settings of the caller's own service are not this one's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    flags = ["--models", str(models), "--port", "0", "--workers", "1"]
    print(f"\n$ python -m app --models {models}")
    log = folder / "service.log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "app", *flags], stderr=file, env=environment, cwd=ROOT)
    try:
        yield _ready(process, log)
    finally:
        process.terminate()
        process.wait(WAIT_S)


def compare_files(url: str, a: Path, b: Path, **query: str | float) -> Answer:
    """POST two files to /compare; the query names the model and where a verdict is taken."""
    where = "&".join(f"{name}={value}" for name, value in query.items())
    print(f"\n$ curl -s '{url}/compare?{where}' -F a=@{a.name} -F b=@{b.name}")
    files = {side: (path.name, path.read_bytes()) for side, path in (("a", a), ("b", b))}
    return shown(httpx.post(f"{url}/compare", params=query, files=files, timeout=WAIT_S))


def compare_items(url: str, body: Mapping[str, Any], file: Path | None = None) -> Answer:
    """POST a JSON body to /compare; a long one is also written to a file, to be sent from there."""
    text = json.dumps(body)
    if file is not None:
        file.write_text(text, "utf-8")
    said = shlex.quote(text) if file is None else f"@{file.name}"
    print(f"\n$ curl -s {url}/compare -H 'Content-Type: application/json' -d {said}")
    return shown(httpx.post(f"{url}/compare", json=body, timeout=WAIT_S))


def shown(response: httpx.Response) -> Answer:
    """Show what a reader looks at first in an answer of /compare, a refusal included."""
    answer: Answer = response.json()
    if not response.is_success:
        print(f"{answer['status']} {answer['code']}: {answer['detail']}")
        return answer
    print(f"verdict: {answer['verdict']}, score: {answer['score']:.4f}")
    for reason in answer["reasons"]:
        print(f"  because {reason['code']}: {reason['detail']}")
    for notice in answer["notices"]:
        print(f"  notice: {notice['code']} {notice['pointer']}")
    if point := answer["operating_point"]:
        print(f"  threshold: {point['threshold']:.4f}")
        who = point["impostor"] and point["impostor"]["description"]
        for name, meaning in (("fmr", f"false matches ({who})"), ("fnmr", "false non-matches")):
            if rate := point[name]:
                print(f"  {meaning}: {rate['value']:.3f} (95 %: {rate['low']:.3f} to {rate['high']:.3f})")
        by_type = point["fmr_by_impostor"] or {}
        if len(by_type) > 1:
            rates = ", ".join(f"{name} {rate['value']:.3f}" for name, rate in by_type.items())
            print(f"  false matches by type: {rates}")
    return answer


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if listening := re.search(r"listening on (\S+)", log.read_text()):
            url = listening.group(1)
            try:
                if httpx.get(f"{url}/health/ready").is_success:
                    return url
            except httpx.TransportError:
                pass  # not yet
        time.sleep(0.1)
    sys.exit(f"the service did not start: see {log}")
