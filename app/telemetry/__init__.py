"""What the service says of itself while it runs: metrics, logs, traces. Nothing here decides anything, and no HTTP.

metrics.py counts what core's Observer reports, files.py has what it counts into, sums.py shows the sum over all
worker processes, facts.py what is known rather than counted, scores.py and drift.py how served scores lie beside the
calibration's, logs.py writes one JSON line a record, tracing.py says whether spans are exported and spans.py makes
them.
"""

from app.telemetry.drift import Drift
from app.telemetry.facts import ModelFacts, States, facts_of
from app.telemetry.logs import JsonLines, log_to_stderr
from app.telemetry.metrics import Telemetry
from app.telemetry.sums import shared_registry
from app.telemetry.tracing import tracer_of

__all__ = [
    "Drift",
    "JsonLines",
    "ModelFacts",
    "States",
    "Telemetry",
    "facts_of",
    "log_to_stderr",
    "shared_registry",
    "tracer_of",
]
