"""How likely a pair matches, by its cell: one smooth curve through a few hundred answers, with what is left in doubt.

The log-odds that a pair matches rise with its score, at a rate that varies slowly, and with its nearness: how many
neighbours its items share, beyond what its score says already. The scale of both is that of the impostors' own normal
deviates, on which genuine and impostor scores of many encoders differ by little more than a shift (the scale of DET
curves, Martin et al. 1997, on which they are straight lines): there the log-odds are close to a line, so that they can
be carried on to low scores, where matches are too rare to be met, and one weight of nearness serves high and low scores
alike. That is the assumption on which everything here rests; answers bend the curve where they are.

Piecewise linear in the deviate; the logarithms of the slopes are a random walk, so that the curve never falls, and the
prior is wide: slopes of 0.5 to 80 log-odds a unit are all likely before the first answer. The posterior is found by
Laplace's approximation, from which draws are taken and weighed by importance (Gelman et al. 2013, "Bayesian data
analysis", 10.4 and 13.3). Which pairs were asked does not enter, since that was decided by cells alone (Rubin 1976,
"Inference and missing data").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from model_export.unlabelled.frame import Float64, Frame, Integers

KNOTS = np.arange(-3.0, 6.01, 0.5)
STEP = 0.5
REFERENCE = 11
"""The knot, a deviate of 2.5, at which the prior says how likely a match is."""
HEIGHT = (-4.0, 4.0)
LOG_SLOPE = (np.log(2.5), 1.8)
"""Mean and standard deviation of the log-odds at the reference, and of the logarithm of the slope there."""
WANDER = 0.35
"""Standard deviation of the change of a log slope over one unit of deviate."""
WEIGHT = (1.5, 2.0)
"""Mean and standard deviation of the weight of nearness. By all labels it is 0 for the faces of Labeled Faces in the
Wild, 1.6 to 2.2 for AT&T's, 1 to 2.6 for signatures, 2 to 4.2 for glyphs."""
ANSWER_WEIGHT = 0.35
"""What an answer counts for in the bounds: less than one, since no curve follows the truth in every bend. By trial on
labelled sets; see docs/decisions/0012."""
TURNS = 6
PARAMETERS = len(KNOTS) + 1
FREEDOM = 8


@dataclass(frozen=True)
class Answers:
    """Answered pairs: the cell of each and whether it matches, (answers,)."""

    cell: Integers
    match: Float64


@dataclass(frozen=True)
class Curve:
    """The curve of a frame: `basis` (cells, knots) and `nearness` (cells,) turn parameters into log-odds; the most
    likely parameters and their covariance, of which each is standard normal before any answer.
    """

    basis: Float64
    nearness: Float64
    centre: Float64
    covariance: Float64

    @property
    def chance(self) -> Float64:
        """How likely a pair of each cell matches, (cells,)."""
        return np.asarray(expit(_log_odds(self.centre, self.basis, self.nearness)))

    @property
    def gradient(self) -> Float64:
        """What each parameter adds to the log-odds of each cell, (cells, parameters)."""
        return _gradient(self.centre, self.basis, self.nearness)


def fit_curve(frame: Frame, answers: Answers, weight: float = 1.0) -> Curve:
    """The curve of these answers, each counting for `weight`.

    Deviates are those of pairs that do not match, which the curve itself tells apart: so fitting alternates with
    counting them, half a step each time.
    """
    score, shared = norm.isf(frame.middle), norm.isf(frame.shared_middle)
    impostors = frame.count.astype(np.float64)
    centre = np.zeros(PARAMETERS)
    for turn in range(TURNS):
        basis = _basis(score)[frame.bin]
        nearness = _nearness(score[frame.bin], shared[frame.shared_bin], impostors)
        centre, covariance = _climb(centre, basis, nearness, answers, weight)
        chance = expit(_log_odds(centre, basis, nearness))
        if turn < TURNS - 1:
            impostors = frame.count * (1.0 - chance)
            score = (score + _deviates(frame.bin, impostors)) / 2.0
            shared = (shared + _deviates(frame.shared_bin, impostors)) / 2.0
    return Curve(basis, nearness, centre, covariance)


def _deviates(place: Integers, impostors: Float64) -> Float64:
    """The normal deviate of each bin among the impostors: `place` (cells,) the bins of cells, the highest first, and
    how many impostors each holds (cells,).
    """
    held = np.bincount(place, weights=impostors)
    above = np.cumsum(held) - held / 2.0
    return np.asarray(norm.isf(np.clip(above / held.sum(), 1e-9, 1.0 - 1e-9)))


def _nearness(score: Float64, shared: Float64, impostors: Float64) -> Float64:
    """What the deviates of shared neighbours (cells,) say beyond those of scores: of impostors about standard normal,
    and uncorrelated with the score.
    """
    alike = float((impostors * score * shared).sum() / (impostors * np.square(score)).sum())
    return np.asarray((shared - alike * score) / np.sqrt(max(1.0 - alike * alike, 1e-6)))


def draw_matches(frame: Frame, answers: Answers, draws: int, seed: int) -> Float64:
    """How many pairs of each cell match, as the answers leave it open: float64 (draws, cells), all equally likely.

    What was answered is known; of the other pairs so many match as the drawn curve and chance will have it.
    """
    rng = np.random.default_rng(seed)
    curve = fit_curve(frame, answers, ANSWER_WEIGHT)
    normal = rng.standard_normal((draws, PARAMETERS))
    stretch = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, draws))
    tried = curve.centre + (normal @ np.linalg.cholesky(curve.covariance).T) * stretch[:, np.newaxis]
    length = np.square(normal).sum(axis=1) * np.square(stretch)
    proposed = -(FREEDOM + PARAMETERS) / 2.0 * np.log1p(length / FREEDOM)
    odds = _log_odds(tried, curve.basis[answers.cell], curve.nearness[answers.cell])
    found = ANSWER_WEIGHT * (answers.match * odds - np.logaddexp(0.0, odds)).sum(axis=1)
    weights = found - np.square(tried).sum(axis=1) / 2.0 - proposed
    weights = np.exp(weights - weights.max())
    places = (np.arange(draws) + rng.random()) / draws
    kept = tried[np.searchsorted(np.cumsum(weights / weights.sum()), places).clip(0, draws - 1)]
    chance = expit(_log_odds(kept, curve.basis, curve.nearness))
    asked = np.bincount(answers.cell, minlength=len(frame.count))
    hits = np.bincount(answers.cell, weights=answers.match, minlength=len(frame.count))
    return np.asarray(hits + rng.binomial(frame.count - asked, chance))


def _walk() -> Float64:
    """How standard normal numbers make log slopes (segments,): the first is that at the reference, from which the
    others wander off on either side.
    """
    segments = len(KNOTS) - 1
    walk = np.zeros((segments, segments))
    walk[:, REFERENCE] = LOG_SLOPE[1]
    step = WANDER * np.sqrt(STEP)
    for segment in range(segments):
        low, high = sorted((segment, REFERENCE))
        others = range(low + 1, high + 1) if segment > REFERENCE else range(low, high)
        walk[segment, list(others)] = step
    return walk


_WALK = _walk()
_RISES = np.tril(np.ones((len(KNOTS), len(KNOTS) - 1)), -1)
_RISES = _RISES - _RISES[REFERENCE]


def _rises(parameters: Float64) -> Float64:
    """By how much the curve rises along each segment: (..., segments)."""
    return np.asarray(STEP * np.exp(np.clip(LOG_SLOPE[0] + parameters[..., 1:-1] @ _WALK.T, -6.0, 4.0)))


def _log_odds(parameters: Float64, basis: Float64, nearness: Float64) -> Float64:
    """Log-odds of a match: parameters (..., p), basis (n, knots), nearness (n,) -> (..., n)."""
    heights = HEIGHT[0] + HEIGHT[1] * parameters[..., :1] + _rises(parameters) @ _RISES.T
    return np.asarray(heights @ basis.T + (WEIGHT[0] + WEIGHT[1] * parameters[..., -1:]) * nearness)


def _gradient(parameters: Float64, basis: Float64, nearness: Float64) -> Float64:
    slopes = (_RISES * _rises(parameters)) @ _WALK
    heights = np.concatenate([np.full((len(KNOTS), 1), HEIGHT[1]), slopes], axis=1)
    return np.concatenate([basis @ heights, WEIGHT[1] * nearness[:, np.newaxis]], axis=1)


def _basis(deviate: Float64) -> Float64:
    """Linear interpolation between the knots: (n,) -> (n, knots)."""
    place = (np.clip(deviate, KNOTS[0], KNOTS[-1] - 1e-9) - KNOTS[0]) / STEP
    left = place.astype(np.int64)
    basis = np.zeros((len(deviate), len(KNOTS)))
    rows = np.arange(len(deviate))
    basis[rows, left], basis[rows, left + 1] = 1.0 - (place - left), place - left
    return basis


def _climb(
    start: Float64, basis: Float64, nearness: Float64, answers: Answers, weight: float
) -> tuple[Float64, Float64]:
    """The most likely parameters, by damped Gauss-Newton, and their covariance."""
    basis, nearness, match = basis[answers.cell], nearness[answers.cell], answers.match

    def gain(parameters: Float64) -> float:
        odds = _log_odds(parameters, basis, nearness)
        return float(weight * (match * odds - np.logaddexp(0.0, odds)).sum() - parameters @ parameters / 2.0)

    def look(parameters: Float64) -> tuple[Float64, Float64]:
        """Where it rises, and how steeply that falls off."""
        slopes, chance = _gradient(parameters, basis, nearness), expit(_log_odds(parameters, basis, nearness))
        rise = weight * slopes.T @ (match - chance) - parameters
        steepness = (slopes * (weight * chance * (1.0 - chance))[:, np.newaxis]).T @ slopes + np.eye(len(parameters))
        return np.asarray(rise), np.asarray(steepness)

    here, now = start, gain(start)
    for _ in range(60):
        rise, steepness = look(here)
        step = np.linalg.solve(steepness, rise)
        size = 1.0
        while gain(here + size * step) < now and size > 1e-4:
            size /= 2.0
        before, now = now, gain(here + size * step)
        here = here + size * step
        if now - before < 1e-7:
            break
    return here, np.asarray(np.linalg.inv(look(here)[1]))
