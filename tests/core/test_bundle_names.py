"""What names of models mean is stated in aliases.toml, and nothing else may be in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.bundle import Names, Trial, meant_by, read_names, sign_models
from app.core.errors import BundleRefused
from tests.tiny import make_tiny, write_tiny


def test_aliases_are_names_or_pinned_versions(tmp_path: Path) -> None:
    assert read_names(tmp_path) == Names()
    (tmp_path / "aliases.toml").write_text('tiny = "tiny@1.0.0"\nshapes = "tiny"\n', encoding="utf-8")
    assert read_names(tmp_path) == Names({"tiny": "tiny@1.0.0", "shapes": "tiny"})


def test_trials_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    lines = 'shapes = "tiny"\n[shadow]\ntiny = {candidate = "tiny@1.1.0", share = 1}\n'
    (tmp_path / "aliases.toml").write_text(lines, encoding="utf-8")
    names = read_names(tmp_path)
    assert names == Names({"shapes": "tiny"}, {"tiny": Trial("tiny@1.1.0", 1.0)})
    assert names.candidates == {"tiny@1.1.0"}


@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        'x = "a/b"',
        'x = "a@1"',
        'x = "a@"',
        '"x@1.0.0" = "a"',
        "[x]\na = 'b'",
        "x =",
        "[shadow]\nx = 'a@1.0.0'",
        "[shadow]\nx = {candidate = 'a', share = 0.1}",
        "[shadow]\nx = {candidate = 'a@1.0.0'}",
        "[shadow]\nx = {candidate = 'a@1.0.0', share = 0}",
        "[shadow]\nx = {candidate = 'a@1.0.0', share = 1.1}",
        "[shadow]\nx = {candidate = 'a@1.0.0', share = nan}",
        "[shadow]\nx = {candidate = 'a@1.0.0', share = true}",
        "[shadow]\nx = {candidate = 'a@1.0.0', share = 0.1, more = 1}",
        "[shadow]\n'x@1.0.0' = {candidate = 'a@1.0.0', share = 0.1}",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "aliases.toml").write_text(line, encoding="utf-8")
    with pytest.raises(BundleRefused, match=r"aliases\.toml"):
        read_names(tmp_path)


def test_a_name_never_means_what_is_hidden_and_a_key_or_alias_does() -> None:
    manifests = {
        f"tiny@{version}": make_tiny(version=version, calibrated=False).manifest for version in ("1.0.0", "2.0.0")
    }
    assert meant_by("tiny", manifests, {}) == "tiny@2.0.0"
    assert meant_by("tiny", manifests, {}, {"tiny@2.0.0"}) == "tiny@1.0.0"
    assert meant_by("tiny@2.0.0", manifests, {}, {"tiny@2.0.0"}) == "tiny@2.0.0"
    assert meant_by("new", manifests, {"new": "tiny@2.0.0"}, {"tiny@2.0.0"}) == "tiny@2.0.0"
    assert meant_by("tiny", manifests, {}, manifests.keys()) is None


def test_signature_changes_with_bundles_and_aliases_and_not_with_unfinished_writes(tmp_path: Path) -> None:
    seen = [sign_models(tmp_path)]
    folder = write_tiny(tmp_path, calibrated=False)
    seen.append(sign_models(tmp_path))
    (tmp_path / "aliases.toml").write_text('best = "tiny"')
    seen.append(sign_models(tmp_path))
    (folder / "model.onnx").write_bytes(b"other")
    seen.append(sign_models(tmp_path))
    assert len(set(seen)) == 4
    (folder.parent / ".2.0.0.tmp").mkdir()
    (folder.parent / ".2.0.0.tmp" / "manifest.json").write_text("{")
    assert sign_models(tmp_path) == seen[-1]
