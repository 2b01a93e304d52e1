"""Evidence without labels: `calibrate BUNDLE --items DIR|TABLE`, and questions that a person answers with `--ask`.

Two random items of a collection hardly ever match, so that random pairs are impostors; the few that do match make a
threshold stricter, never laxer (calibrating.py, hidden.py). Which pairs match is asked of a person about a few hundred
pairs (asking.py, sheet.py, page.py), chosen among all by how likely they match (frame.py, curve.py); the answers
estimate FNMR, FMR against near neighbours and the likelihood ratio (answered.py). docs/calibrating.md says what is
assumed, and how well it holds on labelled sets.
"""
