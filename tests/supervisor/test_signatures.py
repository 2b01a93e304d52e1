"""Where a key is set, only what its owner signed is served, and it is the very bytes that were signed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="signatures need the extra `signing`")

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.core.bundle import ManifestCheck, read_bundle
from app.core.errors import BundleRefused
from app.settings import Settings
from app.supervisor import serve
from app.supervisor.signatures import NoSignatureCheckError, signature_check
from model_export.signing import sign
from tests.signed import write_pair, write_public
from tests.supervisor.live import live_service, wait_for
from tests.supervisor.test_catalogue import spoil
from tests.tiny import write_tiny

pytestmark = [pytest.mark.usefixtures("signals_restored"), pytest.mark.timeout(300)]


class Signed:
    """A folder of models with one signed bundle, and the keys of two people."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.private, self.public = write_pair(folder, "ours")
        self.their_private, self.their_public = write_pair(folder, "theirs")
        self.bundle = write_tiny(self.models, calibrated=False)
        self.signature = sign(self.bundle, self.private)

    @property
    def check(self) -> ManifestCheck:
        found = signature_check(self.public, None)
        assert found is not None
        return found


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def refusal(signed: Signed) -> str:
    with pytest.raises(BundleRefused) as caught:
        read_bundle(signed.bundle, signed.check)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_signed_bundle_is_read(signed: Signed) -> None:
    assert read_bundle(signed.bundle, signed.check).key == "tiny@1.0.0"


def test_without_a_key_nothing_is_asked(signed: Signed) -> None:
    signed.signature.write_text("not a signature")
    assert signature_check(None, None) is None
    assert read_bundle(signed.bundle, None).key == "tiny@1.0.0"


def test_signature_of_the_openssf_command_is_taken_and_ours_by_it(signed: Signed) -> None:
    run = [sys.executable, "-m", "model_signing"]
    named = [str(signed.bundle), "--signature", str(signed.signature)]
    subprocess.run([*run, "verify", "key", *named, "--public_key", str(signed.public)], check=True)
    signed.signature.unlink()
    subprocess.run([*run, "sign", "key", *named, "--private_key", str(signed.private)], check=True)
    assert read_bundle(signed.bundle, signed.check).key == "tiny@1.0.0"


def remove(signed: Signed) -> None:
    signed.signature.unlink()


def sign_by_another(signed: Signed) -> None:
    sign(signed.bundle, signed.their_private)


def garble(signed: Signed) -> None:
    signed.signature.write_text("{")


def enlarge(signed: Signed) -> None:
    signed.signature.write_bytes(bytes(2 << 20))


def spoil_graph(signed: Signed) -> None:
    spoil(signed.bundle)


def take_that_of_another_version(signed: Signed) -> None:
    other = write_tiny(signed.models, version="2.0.0", calibrated=False)
    shutil.copy(sign(other, signed.private), signed.signature)


def put_another_bundle(signed: Signed) -> None:
    """An attacker's bundle is consistent in itself: its digests all fit."""
    signature = signed.signature.read_bytes()
    shutil.rmtree(signed.bundle)
    write_tiny(signed.models, calibrated=True)
    signed.signature.write_bytes(signature)


def put_another_statement(signed: Signed) -> None:
    """The honest signature around a statement about the attacker's bundle."""
    put_another_bundle(signed)
    honest = signed.signature.read_bytes()
    theirs = json.loads(sign(signed.bundle, signed.their_private).read_bytes())
    mixed = json.loads(honest)
    mixed["dsseEnvelope"]["payload"] = theirs["dsseEnvelope"]["payload"]
    signed.signature.write_text(json.dumps(mixed))


def put_two_statements(signed: Signed) -> None:
    """What one reader takes for the statement is not what another verifies."""
    put_another_bundle(signed)
    honest = json.loads(signed.signature.read_bytes())
    theirs = json.loads(sign(signed.bundle, signed.their_private).read_bytes())
    both = {**theirs, "dsse_envelope": honest["dsseEnvelope"], "verificationMaterial": honest["verificationMaterial"]}
    signed.signature.write_text(json.dumps(both))


def strip_signatures(signed: Signed) -> None:
    changed = json.loads(signed.signature.read_bytes())
    changed["dsseEnvelope"]["signatures"] = []
    signed.signature.write_text(json.dumps(changed))


@pytest.mark.parametrize(
    "attack",
    [
        remove,
        sign_by_another,
        garble,
        enlarge,
        spoil_graph,
        take_that_of_another_version,
        put_another_bundle,
        put_another_statement,
        put_two_statements,
        strip_signatures,
    ],
)
def test_bundle_without_a_valid_signature_is_refused(signed: Signed, attack: Callable[[Signed], None]) -> None:
    attack(signed)
    assert refusal(signed).startswith("model.sig: ")


def test_signature_over_other_files_than_the_manifest_vouches_for_nothing(signed: Signed) -> None:
    """The owner signed a folder without the manifest: valid, and of no use."""
    manifest = signed.bundle / "manifest.json"
    written = manifest.read_bytes()
    manifest.unlink()
    signed.signature.unlink()
    run = [sys.executable, "-m", "model_signing", "sign", "key", str(signed.bundle)]
    subprocess.run([*run, "--signature", signed.signature, "--private_key", signed.private], check=True)
    manifest.write_bytes(written)
    assert refusal(signed) == "model.sig: does not sign manifest.json as it is"


def test_what_is_served_is_what_was_signed_even_if_the_folder_changes_while_it_is_read(signed: Signed) -> None:
    """The manifest that is in use was read before the honest one was put back for the check."""
    honest = signed.bundle.rename(signed.bundle.with_name("honest"))
    evil = write_tiny(signed.models, calibrated=True)
    shutil.copy(honest / "model.sig", evil)
    check = signed.check

    def swap(folder: Path, manifest: bytes, signature: bytes) -> None:
        for file in honest.iterdir():
            shutil.copy(file, folder)
        check(folder, manifest, signature)

    with pytest.raises(BundleRefused, match=r"does not sign manifest\.json as it is"):
        read_bundle(signed.bundle, swap)


def test_files_outside_the_signature_change_nothing(signed: Signed) -> None:
    (signed.bundle / "note.txt").write_text("added later, and never read")
    assert read_bundle(signed.bundle, signed.check).key == "tiny@1.0.0"


def test_no_copy_is_left_behind(signed: Signed, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    check = signature_check(signed.public, scratch)
    read_bundle(signed.bundle, check)
    assert list(scratch.iterdir()) == []


def test_service_serves_what_is_signed_and_says_why_it_refuses_the_rest(signed: Signed) -> None:
    write_tiny(signed.models, name="unsigned", calibrated=False)
    with live_service(signed.models, signing_key=signed.public) as service:
        service.wait_ready(1)
        models = service.get("/health/ready").json()["models"]
        assert models["tiny@1.0.0"] == {"ready": True, "reason": None}
        assert models["unsigned@1.0.0"] == {"ready": False, "reason": "model.sig: is missing"}
        assert service.said(r"refused unsigned@1\.0\.0: model\.sig: is missing")


def test_reload_asks_for_signatures_as_the_start_does(signed: Signed) -> None:
    with live_service(signed.models, signing_key=signed.public) as service:
        service.wait_ready(1)
        bundle = write_tiny(signed.models, version="1.1.0", calibrated=False)
        service.process.send_signal(signal.SIGHUP)
        wait_for("refusal", lambda: service.said(r"1\.1\.0.*model\.sig: is missing"))
        assert service.get("/models/tiny").json()["version"] == "1.0.0"
        sign(bundle, signed.private)
        service.process.send_signal(signal.SIGHUP)
        wait_for("signed version", lambda: service.get("/models/tiny").json()["version"] == "1.1.0")


def test_key_that_is_none_stops_the_start(signed: Signed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = rsa.generate_private_key(65537, 2048)
    (tmp_path / "text").write_text("no key")
    for key in (
        signed.private,
        write_public(tmp_path / "rsa", large),
        write_public(tmp_path / "k1", ec.generate_private_key(ec.SECP256K1())),
        tmp_path / "text",
        tmp_path / "missing",
        tmp_path,
    ):
        assert serve(Settings(models=signed.models, port=0, signing_key=key)) == 2, key
        error = capsys.readouterr().err
        assert error.startswith(f"twinserve: TWINSERVE_SIGNING_KEY={key}: ")
        assert error.count("\n") == 1


def test_missing_library_stops_the_start(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(NoSignatureCheckError, match=r"install twinserve\[signing\]$"):
        signature_check(signed.public, None)


def test_supervisor_loads_the_library_only_where_a_key_is_set() -> None:
    code = "import sys, app.supervisor, app.supervisor.signatures; sys.exit('model_signing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
