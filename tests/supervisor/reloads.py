"""A running service whose models are changed, and clients that watch what it answers meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.core.bundle import write_bundle
from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for
from tests.tiny import make_tiny, write_tiny

REQUEST_S = 60.0


@dataclass
class Changing:
    """The service, its folder of models and its state folder."""

    service: LiveService
    models: Path
    state: Path

    def write(self, version: str, name: str = "tiny") -> Path:
        """Put a good version in place that takes the embeddings of the others."""
        return write_tiny(self.models, name=name, version=version, calibrated=False)

    def write_other(self, version: str) -> Path:
        """Put a good version in place with a fingerprint of its own."""
        return write_bundle(self.models, make_tiny(version=version, calibrated=False, half=True), {})

    def start_reload(self) -> subprocess.Popen[str]:
        """`twinserve reload`, as an operator runs it."""
        return start_reload(self.state)

    def reload(self) -> tuple[int, str]:
        """The exit code of `twinserve reload`, and what it printed."""
        process = self.start_reload()
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out + err

    def compare(self, model: str | None = None, **body: Any) -> httpx.Response:
        """One comparison on a connection of its own."""
        pair = {"a": picture(1), "b": picture(1, 1)} | ({} if model is None else {"model": model})
        return httpx.post(f"{self.service.url}/compare", json=pair | body, timeout=REQUEST_S)

    def version(self, model: str = "tiny") -> str:
        """Which version a name means now."""
        answer = self.compare(model)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["version"])


def start_reload(state: Path | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    if state is not None:
        environment["TWINSERVE_STATE_DIR"] = str(state)
    command = [sys.executable, "-m", "app", "reload"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextlib.contextmanager
def changing(folder: Path, *, workers: int = 1, **settings: Any) -> Iterator[Changing]:
    """A ready service on tiny@1.0.0, in `folder`."""
    models, state = folder / "models", folder / "state"
    write_tiny(models, calibrated=False)
    with live_service(models, **{"workers": workers, "state_dir": state, **settings}) as service:
        service.wait_ready(workers)
        yield Changing(service, models, state)


@dataclass
class Clients:
    """Threads that compare over and over, each on a connection that stays open."""

    url: str
    count: int
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    """When the request was begun, status, and the version that answered."""
    _over: threading.Event = field(default_factory=threading.Event)

    def _run(self) -> None:
        body = {"model": "tiny", "a": picture(1), "b": picture(1, 1)}
        with httpx.Client(base_url=self.url, timeout=REQUEST_S) as client:
            while not self._over.is_set():
                begun = time.monotonic()
                answer = client.post("/compare", json=body)
                self.answers.append((begun, answer.status_code, answer.json().get("version", answer.text)))

    def since(self, moment: float) -> list[tuple[float, int, str]]:
        """Answers to requests begun after a moment."""
        return [answer for answer in list(self.answers) if answer[0] > moment]

    def wait_for_more(self) -> None:
        """Until every client has surely been answered anew."""
        now = time.monotonic()
        wait_for("further answers", lambda: len(self.since(now)) >= 10 * self.count)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Run them beside the block."""
        threads = [threading.Thread(target=self._run) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        try:
            self.wait_for_more()
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(DEADLINE_S)
