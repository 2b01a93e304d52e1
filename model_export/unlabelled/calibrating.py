"""`calibrate BUNDLE --items DIR|TABLE [--answers FILE] [--ask N]`: evidence from a collection that nobody labelled.

With `--ask` nothing is published: N more questions are added to the sheet, and the page beside it is written anew.
Without, the next version is written: FMR of random pairs, and what the answers of the sheet add, where there is one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.core.evidence import Calibration
from model_export.beside import PAIR_DRAWS, PAIR_SEED
from model_export.card import Table, show
from model_export.errors import CommandError
from model_export.evidence import Sample, Study, measure_evidence
from model_export.pairs import Words
from model_export.releasing import next_version, release
from model_export.subjects import LocalSubject
from model_export.unlabelled.alike import draw_together
from model_export.unlabelled.answered import DRAWS, Answered, TooFewAnswersError, add_answers, rate_of, read_answers
from model_export.unlabelled.asking import LEVELS, first_questions, next_questions
from model_export.unlabelled.collecting import draw_strangers, open_collection, tell_answers
from model_export.unlabelled.curve import Answers, draw_matches
from model_export.unlabelled.frame import Frame
from model_export.unlabelled.hidden import claim_random, count_standing_out
from model_export.unlabelled.page import write_page
from model_export.unlabelled.sheet import read_sheet, write_sheet

RANDOM = "random"
RANDOM_WORDS = "another item of the same collection, taken at random"
MOSTLY = 0.5
"""The share of a false match rate that matches may make up before a user is told that the point is stricter."""


def calibrate_items(folder: Path, path: Path, models: Path, words: Words, sheet: Path | None) -> Path:
    """Write the bundle in `folder` with evidence of the collection at `path` as its next version below `models`.

    sheet: answered questions, None for none. Returns the new folder. Raises CommandError for a collection or answers
    that are no evidence, BundleRefused for a bundle that is not servable.
    """
    if words.impostors:
        raise CommandError("--impostor goes with --pairs: here impostors are random pairs")
    questions = [] if sheet is None else read_sheet(sheet)
    subject = LocalSubject(folder)
    own = open_collection(subject, path)
    asked, match = (np.zeros(0, np.int64), np.zeros(0)) if sheet is None else tell_answers(own, questions)
    units, strangers = draw_strangers(own.frame, own.unit[own.places], PAIR_SEED)
    print(f"{len(strangers.score)} of {len(own.frame)} pairs are compared")
    study = Study(
        population=words.population or f"items of {path.name}, which nobody labelled",
        unit=words.unit or own.unit_word,
        impostors={RANDOM: RANDOM_WORDS},
        source="yours",
        valid_for_days=words.valid_for_days,
        draws=PAIR_DRAWS,
        seed=PAIR_SEED,
        folds=0,
    )
    sample = Sample(own.items, own.unit, None, own.rows, units, None, {RANDOM: strangers})
    calibration = measure_evidence(study, subject.encoder, sample, next_version(subject, models))
    protocol = "not verified, since nobody labelled these items"
    answered = None
    random = draw_together(calibration, own.frame, own.unit[own.places])
    if sheet is not None:
        try:
            answered = read_answers(own.frame, asked, match, random, seed=PAIR_SEED)
        except TooFewAnswersError as error:
            print(f"FNMR stays unknown: {error}")
            protocol += f"; FNMR is not known, though {len(match)} answers were given: {error}"
        else:
            calibration = add_answers(calibration, own.frame, answered)
            protocol += f"; FNMR and hard impostors are estimated from {len(match)} answers, for all pairs of the items"
    if answered is None:
        calibration = calibration.model_copy(update=claim_random(random, own.frame.items))
    outstanding = count_standing_out(own.frame.score) / len(own.frame)
    table = _tell_hidden(calibration, outstanding) if answered is None else _tell_answered(answered)
    return release(models, subject, calibration, protocol=protocol, tables=[table], measured=None, losses={})


def ask(folder: Path, path: Path, count: int, sheet: Path, *, carry_on: bool) -> Path:
    """Add `count` questions about the collection at `path` to the sheet, and write its page; returns the page's path.

    carry_on: the sheet may be there already; its answers say where to ask next. Raises CommandError as above, and for
    a sheet that is there though nobody named it.
    """
    if sheet.exists() and not carry_on:
        raise CommandError(f"{sheet} is there already: name it with --answers to carry it on, or name another")
    before = read_sheet(sheet) if sheet.exists() else []
    subject = LocalSubject(folder)
    own = open_collection(subject, path)
    rng = np.random.default_rng(PAIR_SEED)
    asked = own.find(before)
    left = len(own.frame) - len(asked)
    if left < count:
        raise CommandError(f"{count} questions are more than the {left} pairs that are not asked yet")
    if before:
        known, match = tell_answers(own, before)
        answers = Answers(own.frame.cell[known].astype(np.int64), match)
        _tell_so_far(own.frame, answers)
        chosen = next_questions(own.frame, asked, answers, count, rng)
    else:
        chosen = first_questions(own.frame, count, rng)
    more = [own.question(number, pair) for number, pair in enumerate(chosen.tolist(), len(before) + 1)]
    questions = [*before, *more]
    write_sheet(sheet, questions)
    page = sheet.with_suffix(".html")
    place = {key: at for at, key in enumerate(own.keys)}
    items = [(own.items[place[one.a_key]], own.items[place[one.b_key]]) for one in questions]
    match_means = subject.encoder.bundle.manifest.relation.match_means
    page.write_text(write_page(questions, items, subject.preparation.name, match_means, sheet.name), "utf-8")
    return page


def _tell_hidden(calibration: Calibration, outstanding: float) -> Table:
    """The warning about matches among random pairs, guessed from the scores alone, and the card's table."""
    print(
        f"warning: about {outstanding:.2g} of the random pairs stand out, as matches would, and more may be hidden "
        "among the others; FNMR is not known. Matches only make thresholds stricter; --ask tells more"
    )
    for point in calibration.operating_points:
        if outstanding > MOSTLY * point.fmr.value:
            print(f"{point.name}: its threshold is about as strict as to keep matches out; ask, and it can be lower")
            break
    rows = [("standing out among random pairs", "FNMR"), (f"{outstanding:.2g}, a lower guess", "not known")]
    return "Matches among random pairs", rows


def _tell_answered(answered: Answered) -> Table:
    """What the answers gave, and the card's table."""
    for point in answered.points:
        mark = " (default)" if point is answered.default else ""
        print(f"{point.impostor} {point.name}{mark}: FMR {show(point.fmr)}, FNMR {show(point.fnmr)}")
    if len(answered.types) == 1:
        print("impostors that lie near are not told of: too few answers are about such pairs")
    for name in sorted({one.type for one in answered.types} - {one.impostor for one in answered.ratios}):
        print(f"no log-likelihood ratio against {name}: matching pairs do not score higher")
    print(f"of random pairs {show(answered.share)} match")
    rows = [
        ("answers that match", "answers that do not", "random pairs that match"),
        (str(answered.matches), str(answered.others), show(answered.share)),
    ]
    return "Answers", rows


def _tell_so_far(frame: Frame, answers: Answers) -> None:
    """FNMR at the levels that questions are chosen for, as far as the answers tell."""
    matches = draw_matches(frame, answers, DRAWS, PAIR_SEED)
    total = np.maximum(matches.sum(axis=1), 1)
    for level in LEVELS:
        missed = matches[:, frame.middle[frame.bin] > level].sum(axis=1) / total
        print(f"so far: FNMR {show(rate_of(missed))} where {level:.0e} of all pairs score higher")
