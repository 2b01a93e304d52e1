"""The shapes of the answers, for OpenAPI and for the tests that hold answers to it. Not used to check at run time.

Over 300 lines: it is a list, and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.records import Record


class Answer(BaseModel):
    """A part of an answer: no other members, all of them there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rate(Answer):
    """A measured error rate with its 95 % bounds."""

    value: float
    low: float
    high: float


class ImpostorRate(Rate):
    """The false match rate against one impostor type; external where it was measured on another population."""

    external: bool


class ScoreRate(Answer):
    """How often impostors reach this score."""

    value: float
    high: float


class Reason(Answer):
    """Why the verdict is undetermined, or what its rates do not cover."""

    code: Literal[
        "within_guard_band",
        "between_thresholds",
        "outside_calibration",
        "uncalibrated",
        "insufficient_evidence",
        "tie",
        "identical_items",
        "fnmr_unknown",
        "calibration_stale",
    ]
    side: Literal["a", "b", "probe", "reference"] | None = Field(description="a or b in /compare, the others in /match")
    detail: str


class Impostor(Answer):
    """The kind of different things that the false match rate is about."""

    type: str
    description: str


class ReviewRate(Answer):
    """Shares of comparisons that two thresholds leave undetermined."""

    genuine: float
    impostor: float


class Source(Answer):
    """Where the rates were measured."""

    id: str
    population: str
    identities: int
    source: Literal["shipped", "yours"]


class OperatingPoint(Answer):
    """Where the verdict was taken, and how often it goes wrong there. Null where unmeasured."""

    name: str | None
    source: Literal["default", "named", "max_fmr", "max_fmr_max_fnmr", "caller"]
    threshold: float = Field(description="a score at or above it matches; float32")
    threshold_low: float | None = Field(description="with max_fnmr: a score below it does not match")
    impostor: Impostor | None
    fmr: Rate | None = Field(description="how often two different things get the verdict match")
    fnmr: Rate | None = Field(description="how often two alike miss it")
    fmr_by_impostor: dict[str, ImpostorRate] | None
    review_rate: ReviewRate | None
    calibration: Source | None


class Posterior(Answer):
    """The probability of a match, from the caller's prior and the likelihood ratio."""

    value: float
    low: float
    high: float


class Notice(Answer):
    """What was done to an item on its way in."""

    code: str
    pointer: str


class Comparison(Answer):
    """A verdict and what stands behind it. All members are always there, null where unknown or hidden from the key."""

    verdict: Literal["match", "no_match", "undetermined"]
    reasons: list[Reason]
    score: float | None = Field(description="similarity, higher is more alike; float32")
    distance: float | None = Field(description="Euclidean distance of the embeddings; float32")
    log_likelihood_ratio: float | None = Field(description="natural logarithm")
    fmr_at_score: ScoreRate | None
    operating_point: OperatingPoint | None
    posterior: Posterior | None
    notices: list[Notice]
    model: str
    version: str
    fingerprint: str
    record: Record | None = Field(None, description="there only where `include` asks for it")


class MatchedReference(Answer):
    """One reference, and the verdict on it alone, at the rates of as many items as it has."""

    id: str
    items: int = Field(description="how many items it has; the rates are those of so many, with this aggregation")
    score: float = Field(description="the highest, or the mean, of its items' scores with the probe; float32")
    verdict: Literal["match", "no_match", "undetermined"]
    reasons: list[Reason]
    log_likelihood_ratio: float | None = Field(description="natural logarithm; of one item only")
    fmr_at_score: ScoreRate | None
    operating_point: OperatingPoint | None
    record: Record | None = Field(None, description="there only where `include` asks for it")


class FamilyRate(Answer):
    """The sum of the rates of all references, by their values and by their upper bounds; at most 1."""

    value: float
    high: float


class Family(Answer):
    """What all references together claim."""

    references: int
    fmr: FamilyRate | None = Field(
        description="how often a probe of none of the references matches any of them, at most; "
        "of a probe that is one of them, how often it matches another. Null where a rate is unmeasured"
    )
    max_fmr_each: float | None = Field(description="what each comparison was held to: max_fmr over the references")


class Matched(Answer):
    """The verdict on a file: which reference the probe matches best, if any. All references are always there."""

    verdict: Literal["match", "no_match", "undetermined"]
    best: str | None = Field(description="id of the best reference, unless the verdict is another than match")
    reasons: list[Reason] = Field(description="those of the reference that decides, and `tie`")
    references: list[MatchedReference] = Field(description="the highest score first")
    family: Family
    aggregation: Literal["max", "mean"]
    notices: list[Notice]
    model: str
    version: str
    fingerprint: str


class Problem(Answer):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="a sentence that says what to do")
    code: str = Field(description="a stable word to branch on")
    retryable: bool = Field(description="whether the same request may succeed later")
    pointer: str | None = Field(None, description="JSON pointer (RFC 6901) to the part at fault")
    request_id: str


class FailedPair(Answer):
    """A pair that could not be compared."""

    error: Problem


class Comparisons(Answer):
    """One answer for each pair, in order; `notices` are those of all pairs."""

    results: list[Comparison | FailedPair]
    notices: list[Notice]


class Embeddings(Answer):
    """One embedding for each input, in order."""

    embeddings: list[list[float]] | list[str]
    dimension: int
    normalized: bool
    notices: list[Notice]
    model: str
    version: str
    fingerprint: str = Field(description="send it along with an embedding that you bring back")


class StoredPoint(Answer):
    """An operating point that a request can name."""

    name: str
    threshold: float
    impostor: str
    fmr: Rate
    fnmr: Rate | None
    verified: dict[str, Any] | None = Field(description="the rates on identities that had no part in choosing it")
    default: bool


class Modality(Answer):
    """What kind of items, and how they are prepared."""

    name: str
    params: dict[str, Any]


class Space(Answer):
    """The embeddings of a model."""

    dimension: int
    normalized: bool
    metric: Literal["cosine", "euclidean"]


class Limits(Answer):
    """Bounds of one request (max_body_bytes, max_items) and of one item."""

    max_body_bytes: int
    max_items: int
    max_pixels: int
    max_seconds: float
    max_tokens: int


class Relation(Answer):
    """What a match means, and what it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    match_means: str
    not_: Annotated[str, Field(alias="not")]


class Model(Answer):
    """A served model."""

    name: str
    version: str
    status: Literal["released", "demonstration"]
    fingerprint: str
    relation: Relation
    modality: Modality
    item_form: str
    limits: Limits
    embedding: Space
    operating_points: list[StoredPoint]
    default_operating_point: str | None
    impostors: list[dict[str, Any]]
    calibration: dict[str, Any] | None
    licence: dict[str, str]
    intended_use: str
    provider: str
    golden_source: str


class Models(Answer):
    """All served models."""

    models: list[Model]


class Live(Answer):
    """The process answers."""

    live: bool


class ModelState(Answer):
    """Whether a model is served, and if not, why."""

    ready: bool
    reason: str | None


class Ready(Answer):
    """Whether requests can be answered; models by name@version."""

    ready: bool
    models: dict[str, ModelState]
