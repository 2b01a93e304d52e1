"""Whoever has the public key can check a record and cannot make one."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.records import RecordError, check, read_public_key, read_signer, seal
from tests.records.test_record import CONTENT


def write_key(folder: Path, name: str = "key", how: KeySerializationEncryption | None = None) -> tuple[Path, Path]:
    """A new private key and its public half, as files."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how or NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_signed_record_is_verified_with_either_half(tmp_path: Path) -> None:
    private, public = write_key(tmp_path)
    sealed = seal(CONTENT, read_signer(private))
    for half in (private, public):
        assert check(sealed, read_public_key(half)).signature is not None


def test_another_key_a_changed_signature_or_none_is_told(tmp_path: Path) -> None:
    private, public = write_key(tmp_path)
    _, other = write_key(tmp_path, "other")
    sealed = seal(CONTENT, read_signer(private))
    with pytest.raises(RecordError, match="signed with the key"):
        check(sealed, read_public_key(other))
    for value in (base64.b64encode(bytes(64)).decode(), "AAAA", "not base64"):
        broken = {**sealed, "signature": {**sealed["signature"], "value": value}}
        with pytest.raises(RecordError, match="is not that of the key"):
            check(broken, read_public_key(public))
    with pytest.raises(RecordError, match="not signed"):
        check(seal(CONTENT, None), read_public_key(public))


def test_record_that_was_changed_and_sealed_again_is_told(tmp_path: Path) -> None:
    private, public = write_key(tmp_path)
    sealed = seal(CONTENT, read_signer(private))
    forged = {**seal({**CONTENT, "verdict": "no_match"}, None), "signature": sealed["signature"]}
    check(forged, None)  # without the key nobody can tell
    with pytest.raises(RecordError, match="is not that of the key"):
        check(forged, read_public_key(public))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_makes_keys_and_verifies_records_without_us(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    sealed = seal(CONTENT, read_signer(private))
    data, signature = tmp_path / "data", tmp_path / "signature"
    data.write_bytes(rfc8785.dumps(CONTENT))
    signature.write_bytes(base64.b64decode(sealed["signature"]["value"]))
    verify: list[str | Path] = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        data,
        "-sigfile",
        signature,
    ]
    subprocess.run(verify, check=True, capture_output=True)
    convert: list[str | Path] = ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"]
    raw = subprocess.run(convert, check=True, capture_output=True).stdout[-32:]
    assert sealed["signature"]["key_id"] == hashlib.sha256(raw).hexdigest()[:16]


def test_file_without_an_ed25519_key_is_told_in_one_line(tmp_path: Path) -> None:
    encrypted, _ = write_key(tmp_path, "encrypted", BestAvailableEncryption(b"secret"))
    other = tmp_path / "other"
    key = generate_private_key(SECP256R1())
    other.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    empty = tmp_path / "empty"
    empty.touch()
    for file in (encrypted, other, empty, tmp_path / "missing", tmp_path):
        for read in (read_signer, read_public_key):
            with pytest.raises(ValueError, match="key file") as caught:
                read(file)
            assert "\n" not in str(caught.value)


def test_missing_package_is_told(tmp_path: Path) -> None:
    private, _ = write_key(tmp_path)
    code = (
        "import sys; sys.modules['cryptography'] = None; from pathlib import Path; from app.records import read_signer;"
        "read_signer(Path(sys.argv[1]))"
    )
    run = subprocess.run([sys.executable, "-c", code, private], capture_output=True, text=True, check=False)
    assert "install twinserve[records]" in run.stderr.splitlines()[-1]
