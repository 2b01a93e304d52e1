"""A version on trial beside the one that answers, from aliases.toml to the metrics to its promotion."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import picture
from tests.supervisor.live import wait_for
from tests.supervisor.reloads import changing

pytestmark = pytest.mark.timeout(300)
PAIR = 'candidate="tiny@1.1.0",model="tiny@1.0.0"'


def test_version_on_trial_scores_live_traffic_and_is_promoted_by_a_reload(tmp_path: Path) -> None:
    with changing(tmp_path, workers=2) as live:
        live.write_other("1.1.0")
        aliases = live.models / "aliases.toml"
        aliases.write_text('[shadow]\ntiny = {candidate = "tiny@1.1.0", share = 1.0}\n')
        code, printed = live.reload()
        assert code == 0
        assert printed == "added tiny@1.1.0\non trial: tiny@1.1.0 scores 100 % of what tiny@1.0.0 compares\n"
        for identity in range(4):
            answer = live.compare("tiny", b=picture(identity), threshold=0.9)
            assert (answer.status_code, answer.json()["version"]) == (200, "1.0.0")
        wait_for("trials", lambda: live.service.metric(f"twinserve_shadow_pairs_total{{{PAIR}}}") == 4)
        for by in ("model", "candidate"):
            assert live.service.metric(f'twinserve_shadow_matches_total{{by="{by}",{PAIR}}}') == 1
        assert "twinserve_shadow_flips_total{" not in live.service.get("/metrics").text
        assert live.version("tiny@1.1.0") == "1.1.0"  # its full name does not depend on a trial

        aliases.unlink()
        code, printed = live.reload()
        assert code == 0
        assert "tiny means tiny@1.1.0, no longer tiny@1.0.0" in printed
        assert "no longer on trial beside tiny@1.0.0: tiny@1.1.0" in printed
        assert live.version() == "1.1.0"


def test_trial_that_cannot_be_is_told(tmp_path: Path) -> None:
    with changing(tmp_path) as live:
        (live.models / "aliases.toml").write_text('[shadow]\ntiny = {candidate = "tiny@2.0.0", share = 0.5}\n')
        code, printed = live.reload()
        assert code == 0
        assert printed.startswith("warning: aliases.toml: tiny@2.0.0 cannot be on trial beside tiny: ")
        assert live.version() == "1.0.0"
