"""`gate.json`: what the quality gate said, row by row (docs/reference/formats.md); reading it loads no torch."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from upath import UPath

from pipeline.documents import as_document, as_record
from pipeline.storage.files import read_json, write_json

GATE = "gate.json"
PASSED: Literal["passed"] = "passed"
REFUSED: Literal["refused"] = "refused"
NOT_JUDGED: Literal["not judged"] = "not judged"
SUPERSEDED: Literal["superseded"] = "superseded"
OFF: Literal["off"] = "off"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One check."""

    name: str
    verdict: Literal["passed", "refused", "not judged"]
    figure: float | None = None
    interval: tuple[float, float] | None = None
    """Confidence interval of the figure."""
    limit: float | None = None
    """The interval (or the figure, if it has none) may not lie wholly beyond it."""
    margin: float | None = None
    """Distance of the figure, or of the better end of its interval, to a refusal; negative: refused.
    None if the row was not judged, has no limit, or passed for another reason."""
    percent: bool = False
    """Whether people read the figure as a percentage."""
    note: str = ""
    """For people."""

    @property
    def shown_figure(self) -> str:
        """The figure as people read it."""
        return self._shown(self.figure)

    @property
    def shown_interval(self) -> str:
        """The interval as people read it."""
        return "" if self.interval is None else f"{self._shown(self.interval[0])} to {self._shown(self.interval[1])}"

    @property
    def shown_limit(self) -> str:
        """The limit as people read it."""
        return self._shown(self.limit)

    @property
    def sentence(self) -> str:
        """Everything in one line."""
        interval = f" ({self.shown_interval})" if self.interval else ""
        limit = f", limit {self.shown_limit}" if self.limit is not None else ""
        return f"{self.name}: {self.shown_figure}{interval}{limit}; {self.note}"

    def _shown(self, value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return ""
        return f"{value:+.1%}".replace("%", " %") if self.percent else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate said of a run, and what it compared the run with."""

    run_id: str
    verdict: Literal["passed", "refused", "superseded", "off"]
    """`superseded`: the champion stands for a later moment, so nothing was judged; `off`: `gate.metric` is "none"."""
    champion: str | None = None
    """Run of the champion that it was compared with; None where there was none."""
    champion_digest: str | None = None
    previous: list[str] = field(default_factory=list)
    """Runs of the champions before that one, which it was compared with, too."""
    metric: str
    value: float | None = None
    """The metric on what the run holds out, validation and test; None if it holds out nothing."""
    rows: list[Row] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=dict)
    """The settings, section `[gate]`."""

    @property
    def reasons(self) -> list[str]:
        """The rows that refuse, a sentence each."""
        return [row.sentence for row in self.rows if row.verdict == REFUSED]

    @property
    def against(self) -> str:
        """What it was compared with, for people."""
        if self.champion is None:
            return "no champion to compare with"
        others = f" and {len(self.previous)} before it" if self.previous else ""
        return f"against champion {self.champion}{others}"

    @property
    def headline(self) -> str:
        """The verdict and the comparison, in a line."""
        told = {
            PASSED: f"passed, {self.against}",
            REFUSED: f"refused, {self.against}",
            SUPERSEDED: f"not asked: champion {self.champion} stands for a later moment",
            OFF: 'switched off (gate.metric = "none")',
        }
        return told[self.verdict]

    def write(self, folder: UPath) -> None:
        """Write `gate.json`."""
        write_json(folder / GATE, as_document(self))


def read_verdict(folder: UPath) -> Verdict | None:
    """The verdict that stands in the folder of a run or a release; None where there is none.

    Raises `StoreError` for a file that is damaged.
    """
    try:
        document = read_json(folder / GATE)
    except FileNotFoundError:
        return None
    return as_record(Verdict, document, folder / GATE)
