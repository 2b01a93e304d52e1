"""A real nginx with deploy/nginx/twinserve.conf, in front of replicas that a test has started."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.deploy.files import DEPLOY
from tests.ports import lasting_port
from tests.supervisor.live import DEADLINE_S, wait_for

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

AROUND = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    log_format upstreams '$status $upstream_addr';
    access_log {folder}/access.log upstreams;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/twinserve.conf;
}}
"""
"""What a distribution's nginx.conf says around an included file, with nothing outside the folder."""


class Gateway:
    """A running nginx."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._log = folder / "access.log"

    def requests(self) -> list[tuple[int, list[str]]]:
        """Status and replicas asked, for each request so far."""
        lines = [line.partition(" ") for line in self._log.read_text().splitlines()]
        return [(int(status), asked.split(", ")) for status, _, asked in lines]


@contextlib.contextmanager
def running_nginx(
    folder: Path, replicas: Sequence[int], changes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Gateway]:
    """Start nginx in front of replicas on these ports of the loopback; end it at the end.

    `changes` are made to the example's text, each to what is there once.
    """
    assert NGINX is not None
    port = lasting_port()
    text = (DEPLOY / "nginx" / "twinserve.conf").read_text()
    ports = {f"twinserve-{number}:8000": f"127.0.0.1:{replica}" for number, replica in enumerate(replicas, start=1)}
    for before, after in ({**ports, **changes} | {"listen 8080;": f"listen 127.0.0.1:{port};"}).items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / "twinserve.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""  # it would become nobody, who may not enter the folder
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    try:
        # The file of its process id comes after the bind: whoever else listened there would be taken for nginx.
        started = folder / "nginx.pid"
        wait_for("nginx", lambda: (started.exists() and accepts(port)) or process.poll() is not None)
        assert process.poll() is None, (folder / "error.log").read_text()
        yield Gateway(f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
