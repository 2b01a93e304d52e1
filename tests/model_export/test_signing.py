"""`sign` puts a name to a good bundle only, and changes nothing but its signature."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="signatures need the extra `signing`")

from cryptography.hazmat.primitives.asymmetric import ec

from model_export.__main__ import main
from tests.signed import write_pair, write_private
from tests.supervisor.test_catalogue import spoil
from tests.tiny import write_tiny


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_sign_adds_one_file_and_may_be_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny(tmp_path / "models", calibrated=False)
    private, _ = write_pair(tmp_path, "ours")
    before = contents(bundle)
    for _ in range(2):
        assert main(["sign", str(bundle), "--key", str(private)]) == 0
        after = contents(bundle)
        assert after.pop("model.sig")
        assert after == before
        assert capsys.readouterr().out == f"wrote {bundle / 'model.sig'}\n"


@pytest.mark.parametrize("what", ["hidden", "inside", "public", "missing"])
def test_key_that_cannot_be_used_is_one_line(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny(tmp_path / "models", calibrated=False)
    private, public = write_pair(tmp_path, "ours")
    key = {
        "hidden": write_private(tmp_path / "hidden", ec.generate_private_key(ec.SECP256R1()), b"secret"),
        "inside": Path(shutil.copy(private, bundle)),
        "public": public,
        "missing": tmp_path / "missing",
    }[what]
    assert main(["sign", str(bundle), "--key", str(key)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"sign: {key}: ")
    assert error.count("\n") == 1
    assert "model.sig" not in contents(bundle)


def test_bundle_that_would_not_be_served_is_not_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny(tmp_path / "models", calibrated=False)
    private, _ = write_pair(tmp_path, "ours")
    spoil(bundle)
    assert main(["sign", str(bundle), "--key", str(private)]) == 1
    assert capsys.readouterr().err.startswith("sign: model.onnx: ")
    assert "model.sig" not in contents(bundle)
