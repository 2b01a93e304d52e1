"""A worker with a bound on its memory refuses what would take more, and lives on."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import httpx
import pytest

from tests.core.modalities.test_image_bombs import chunk
from tests.serving import picture, problem
from tests.supervisor.live import DEADLINE_S, live_service

SIDE = 7000


def vast_png() -> bytes:
    """49 megapixels with transparency, 550 MiB to unpack, in less than a megabyte."""
    packer = zlib.compressobj(1)
    rows = (b"\0" + bytes(4 * SIDE), b"\0" + b"\xff" * (4 * SIDE))
    packed = b"".join(packer.compress(rows[row // 100 % 2]) for row in range(SIDE)) + packer.flush()
    size = SIDE.to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + b"\x08\x06\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND")


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds memory on Linux only")
def test_bomb_beyond_the_bound_is_a_problem_and_no_dead_worker(uncalibrated_models: Path) -> None:
    data = vast_png()
    with live_service(uncalibrated_models, memory_mb=450) as service:
        service.wait_ready(1)
        before = service.worker_pids()
        with httpx.Client(base_url=service.url, timeout=DEADLINE_S) as client:
            for _ in range(3):  # the second finds what the first gave back
                response = client.post("/embed", content=data, headers={"Content-Type": "image/png"})
                assert "memory" in problem(response, 413, "too_large", "/inputs/0")["detail"]
                assert client.post("/compare", json={"a": picture(0), "b": picture(1)}).status_code == 200
        assert service.worker_pids() == before
