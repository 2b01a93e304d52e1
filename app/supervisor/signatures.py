"""Whether a bundle is signed by the key of the settings. Alone in importing model_signing (OpenSSF), only where set.

A signature is what `model_signing sign key` writes: a statement that names files and their SHA-256, signed. That it
names manifest.json as it was read is enough for what is served, because the manifest holds the SHA-256 of every file
that serving reads, and the reader checks each. So it is the very bytes that are served that are vouched for, whatever
becomes of the folder meanwhile.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import BundleRefused

if TYPE_CHECKING:
    from app.core.bundle import ManifestCheck


class NoSignatureCheckError(Exception):
    """Signatures are asked for and cannot be checked; the message is one line."""


def signature_check(key: Path | None, scratch: Path | None) -> ManifestCheck | None:
    """Return what refuses bundles that the owner of the public key in the file `key` has not signed; None for None.

    Copies of signatures are laid into the folder `scratch` while they are checked, None being the system's. Raises
    NoSignatureCheckError where the library is not installed, or the file holds no public key on a NIST curve.
    """
    if key is None:
        return None
    # Only where signatures are asked for: workers start after this.
    from app.core.bundle import MANIFEST_FILE, SIGNATURE_FILE  # noqa: PLC0415
    from app.core.bundle.manifest import sha256_hex  # noqa: PLC0415

    try:
        from model_signing import verifying  # noqa: PLC0415  (a second and 48 MiB that only this setting costs)
    except ModuleNotFoundError as error:
        raise NoSignatureCheckError(
            f"TWINSERVE_SIGNING_KEY needs the package {error.name!r}: install twinserve[signing]"
        ) from error
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key)
    except OSError as error:
        raise NoSignatureCheckError(f"TWINSERVE_SIGNING_KEY={key}: {error.strerror or error}") from error
    except Exception as error:  # one type a kind of unfit key: RSA, a private key, no PEM
        raise NoSignatureCheckError(
            f"TWINSERVE_SIGNING_KEY={key}: holds no public key in PEM on the curve P-256, P-384 or P-521"
        ) from error

    def check(folder: Path, manifest: bytes, signature: bytes) -> None:
        try:
            envelope, payload = _rewrite(signature)
            with tempfile.TemporaryDirectory(dir=scratch) as own:
                copy = Path(own) / SIGNATURE_FILE
                copy.write_bytes(envelope)
                config = verifying.Config().use_elliptic_key_verifier(public_key=key)
                config.set_ignore_unsigned_files(True).verify(folder, copy)
            signed = {one["name"]: one["digest"] for one in json.loads(payload)["predicate"]["resources"]}
        except Exception as error:  # what an untrusted file can raise is not bounded
            raise BundleRefused(
                f"{SIGNATURE_FILE}: is no valid signature of these files by the key in TWINSERVE_SIGNING_KEY"
            ) from error
        if signed.get(MANIFEST_FILE) != sha256_hex(manifest):
            raise BundleRefused(f"{SIGNATURE_FILE}: does not sign {MANIFEST_FILE} as it is")

    return check


def _rewrite(signature: bytes) -> tuple[bytes, bytes]:
    """The signature in a form that can be read in one way only, and the statement that it signs.

    The library reads the first; so what it verifies is what is looked at here.
    """
    given: dict[str, Any] = json.loads(signature)
    envelope = given["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    parts = {name: envelope[name] for name in ("payloadType", "signatures")}
    written = {
        "mediaType": given["mediaType"],
        "verificationMaterial": given["verificationMaterial"],
        "dsseEnvelope": {**parts, "payload": base64.b64encode(payload).decode()},
    }
    return json.dumps(written).encode(), payload
