"""What is installed for serving is pinned with hashes, and `make sbom` lists all of it with version and licence."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("serve-cpu", "serve-cuda", "signing", "build")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z]+\])?==(?P<version>\S+?)(?P<rest> .*)?$")


def entries(lock: str) -> list[str]:
    """The lock's requirements, each with its hashes, on one line."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_pinned_and_hashed(lock: str) -> None:
    assert entries(lock)
    for line in entries(lock):
        requirement, *hashes = line.split("--hash=")
        assert PIN.match(requirement.strip()), line
        assert hashes, line
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", given.strip()) for given in hashes), line


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_says_nothing_of_the_machine_that_wrote_it(lock: str) -> None:
    assert not re.search(r"://|(?<!-)--(index|find|extra|trusted)", "\n".join(entries(lock)))


def test_image_and_environment_are_installed_by_hash() -> None:
    for file in ("Dockerfile", "Makefile"):
        installs = [line for line in (ROOT / file).read_text().splitlines() if "serve-" in line]
        assert installs
    assert "--require-hashes -r /build/serve-${DEVICE}.txt" in (ROOT / "Dockerfile").read_text()
    assert "$(PIP) --require-hashes $(addprefix -r ,$^)" in (ROOT / "Makefile").read_text()


def test_sbom_has_every_serving_package_with_version_and_licence(tmp_path: Path) -> None:
    """The real target on the environment of the tests, which holds what serving needs by the same pins."""
    make = shutil.which("make")
    if make is None or not all(map(importlib.util.find_spec, ("cyclonedx_py", "piplicenses"))):
        pytest.skip("needs make, cyclonedx-bom and pip-licenses")
    venv = Path(sys.prefix)
    made = [argument for file in (".locked", ".project") for argument in ("-o", str(venv / file))]
    given = [f"DEV={venv}", f"VENV={venv}", f"BUILD={tmp_path}", "SBOM_ARGS=--no-validate"]
    subprocess.run([make, "-C", str(ROOT), "sbom", *made, *given], check=True, capture_output=True, timeout=110)

    bom = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "twinserve")
    listed = {canonicalize_name(one["name"]): one for one in bom["components"]}
    table = {
        canonicalize_name(line.split()[0]): line.split(maxsplit=2)[1:]
        for line in (tmp_path / "licences.txt").read_text().splitlines()[1:]
        if line.strip()
    }
    for line in entries("serve-cpu"):
        requirement = Requirement(line.partition("--hash=")[0])
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        name = canonicalize_name(requirement.name)
        [version] = [one.version for one in requirement.specifier]
        assert listed[name]["version"] == table[name][0] == version
        assert listed[name]["purl"] == f"pkg:pypi/{name}@{version}"
        assert listed[name]["licenses"], f"{name} without a licence"
        assert not table[name][1].startswith("UNKNOWN"), f"{name} without a licence"
