"""tuned.env says what it was measured on, is written whole, and settings read from it come before defaults only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.settings import TUNED, Settings
from app.tuning.file import cpu_name, doubt, render, write


def text(**values: int) -> str:
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return render(values, when=when, cpu="A CPU", cpus=4, bundles=["a@1.0.0", "b@2.0.0"])


def test_file_says_when_on_what_and_with_what_it_was_measured() -> None:
    said = text(workers=4)
    for part in ("2026-01-02 03:04 UTC", "A CPU", "usable CPUs: 4", "a@1.0.0, b@2.0.0", "\nTWINSERVE_WORKERS=4\n"):
        assert part in said


def test_written_file_is_what_settings_read(tmp_path: Path) -> None:
    file = tmp_path / "state" / TUNED
    write(file, text(workers=3, threads=2, batch_ms=17))
    settings = Settings(state_dir=file.parent)
    assert (settings.workers, settings.threads, settings.batch_ms, settings.tuned) == (3, 2, 17.0, file)
    assert [path.name for path in file.parent.iterdir()] == [TUNED]


def test_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / TUNED
    write(file, "old")

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("cpus", "told"), [(4, False), (2, True), (40, True)])
def test_other_cpus_than_those_measured_are_told(tmp_path: Path, cpus: int, told: bool) -> None:
    write(tmp_path / TUNED, text(workers=4))
    line = doubt(tmp_path / TUNED, cpus)
    assert (line is not None) == told
    if line is not None:
        assert f"4 usable CPUs and there are {cpus} now" in line
        assert "\n" not in line


def test_file_by_hand_without_that_note_is_not_doubted(tmp_path: Path) -> None:
    write(tmp_path / TUNED, "TWINSERVE_WORKERS=2\n")
    assert doubt(tmp_path / TUNED, 3) is None


def test_processor_is_named_where_the_system_tells_it(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\n")
    assert cpu_name(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert cpu_name(tmp_path / "absent")
