"""What a training shows as it goes: a bar on a terminal, else a line a round; progress.csv, TensorBoard events, a plot.

`progress.csv` holds a row a round. A resumed run drops the rows beyond the state that it goes on from.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch.utils.tensorboard import SummaryWriter

from model_export.training.run_folder import EVENTS_FOLDER, PLOT_FILE, PROGRESS_FILE, write_whole
from model_export.training.trainer import Tally

DIGITS = {"step": "", "seconds": ".1f", "items_per_second": ".0f", "learning_rate": ".3g", "spread": ".3g"}
"""How a column is written; others have four decimals."""
TAGS = {
    "loss": "training/loss",
    "active_share": "training/active_share",
    "items_per_second": "training/items_per_second",
    "learning_rate": "training/learning_rate",
    "validation_auc": "validation/auc",
    "spread": "validation/spread",
    "effective_rank": "validation/effective_rank",
}
"""Where TensorBoard shows a column."""
PANELS = (("loss",), ("active_share",), ("validation_auc",), ("spread", "effective_rank"))


@dataclass(frozen=True)
class Row:
    """A round's figures. `active_share` is None where the loss has no pairs; `seconds` count from the first step."""

    step: int
    seconds: float
    loss: float
    active_share: float | None
    validation_auc: float
    items_per_second: float
    learning_rate: float
    spread: float
    effective_rank: float


COLUMNS = tuple(one.name for one in fields(Row))


class Shown:
    """The display and the three records of one training, from `step` on; a context."""

    def __init__(self, run: Path, name: str, *, step: int, steps: int) -> None:
        _cut_rows(run / PROGRESS_FILE, step)
        self._run, self._steps, self._first = run, steps, step
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            *Progress.get_default_columns(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not self._live,
        )
        self._task = self._bar.add_task(name, total=steps, completed=step, note="")
        self._auc = ""

    def __enter__(self) -> Self:
        self._events = SummaryWriter(str(self._run / EVENTS_FOLDER), purge_step=self._first + 1)
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        self._events.close()

    def step(self, tally: Tally, seconds: float) -> None:
        """Show one step more, of a round that has run for so many seconds."""
        if self._live:
            note = _note(tally.loss(), tally.share(), tally.items / seconds) + self._auc
            self._bar.update(self._task, advance=1, note=note)

    def round(self, row: Row) -> None:
        """Record a round that was looked at."""
        with (self._run / PROGRESS_FILE).open("a", newline="") as file:
            csv.writer(file).writerow(_written(row))
        values = asdict(row)
        for name, tag in TAGS.items():
            if values[name] is not None:
                self._events.add_scalar(tag, values[name], row.step)
        self._events.flush()
        self._auc = f"  validation AUC {row.validation_auc:.4f}"
        if not self._live:
            left = (self._steps - row.step) * (time.monotonic() - self._began) / max(1, row.step - self._first)
            note = _note(row.loss, row.active_share, row.items_per_second) + self._auc
            print(f"step {row.step} of {self._steps}  {note}  {_span(left)} left", file=sys.stderr, flush=True)


def _note(loss: float, share: float | None, rate: float) -> str:
    active = "" if share is None else f"  active {share:.1%}"
    return f"loss {loss:.3f}{active}  {rate:.0f} items/s"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _written(row: Row) -> list[str]:
    values = asdict(row)
    return ["" if values[name] is None else format(values[name], DIGITS.get(name, ".4f")) for name in COLUMNS]


def _cut_rows(path: Path, step: int) -> None:
    """Keep the rows up to a step, and write the header where there is none."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows([row[name] for name in COLUMNS] for row in read_rows(path) if int(row["step"]) <= step)
    write_whole(path, text.getvalue().encode())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a progress.csv that are whole: a kill may have cut the last."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if list(row) == list(COLUMNS) and None not in row.values()]


def draw_progress(run: Path) -> None:
    """Draw progress.csv as progress.png: loss, active share, validation AUC, spread and effective rank by step."""
    rows = read_rows(run / PROGRESS_FILE)
    figure = Figure(figsize=(10, 6))
    figure.subplots_adjust(left=0.08, right=0.92, bottom=0.08, top=0.97, wspace=0.3)
    for axes, names in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for place, name in enumerate(names):
            own = axes if place == 0 else axes.twinx()
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
            own.plot([x for x, _ in points], [y for _, y in points], color=f"C{place}", marker="." * (len(points) < 30))
            own.set_ylabel(name.replace("_", " "), color=f"C{place}")
        axes.set_xlabel("step")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    write_whole(run / PLOT_FILE, file.getvalue())
