"""`base-rates --fmr F --fnmr N`: how many verdicts are wrong, which also depends on how common matches are.

Bayes' rule on the two error rates, nothing measured: docs/evidence.md tells it in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_export.card import Row, markdown_table

PRIORS = (1 / 2, 1 / 10, 1 / 100, 1 / 1000, 1 / 10_000)
WRONG = 0.1
"""Share of wrong match verdicts that the last column allows."""
PAIRS = 1_000_000


def wrong_matches(prior: float, fmr: float, fnmr: float) -> float:
    """The share of `match` verdicts that are wrong, where a share `prior` of the pairs match; 0 where none is given.

    FMR (1 - p) / (FMR (1 - p) + (1 - FNMR) p).
    """
    false, true = fmr * (1 - prior), (1 - fnmr) * prior
    return false / (false + true) if false else 0.0


def wrong_non_matches(prior: float, fmr: float, fnmr: float) -> float:
    """The share of `no_match` verdicts that are wrong, likewise."""
    return wrong_matches(1 - prior, fnmr, fmr)


def needed_fmr(prior: float, fnmr: float, wrong: float) -> float:
    """The FMR at which a share `wrong` of the match verdicts are wrong; wrong_matches solved for FMR, at most 1."""
    return min(1.0, prior / (1 - prior) * (1 - fnmr) * wrong / (1 - wrong))


def base_rate_rows(fmr: float, fnmr: float) -> list[Row]:
    """One row for each of PRIORS, header first."""
    header = (
        "of the pairs, so many match",
        f"of {PAIRS:,} pairs, right `match`",
        "wrong `match`",
        "wrong among `match`",
        "wrong among `no_match`",
        f"FMR for {_percent(WRONG)} wrong among `match`",
    )
    return [header, *(_row(prior, fmr, fnmr) for prior in PRIORS)]


def print_base_rates(fmr: float, fnmr: float) -> None:
    """Print the table."""
    print("\n".join(markdown_table(base_rate_rows(fmr, fnmr))))


def _row(prior: float, fmr: float, fnmr: float) -> Sequence[str]:
    return (
        f"1 in {1 / prior:,.0f}",
        f"{PAIRS * prior * (1 - fnmr):,.0f}",
        f"{PAIRS * (1 - prior) * fmr:,.0f}",
        _percent(wrong_matches(prior, fmr, fnmr)),
        _percent(wrong_non_matches(prior, fmr, fnmr)),
        _percent(needed_fmr(prior, fnmr, WRONG)),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
