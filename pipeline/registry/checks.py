"""The checks of the input: how far it may differ from the champion's, their result, and how it is shown.

`check_rows` makes a row of each comparison, `input_check` asks about today's champion.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.errors import ChecksRefusedError

Verdict = Literal["ok", "refused", "accepted", "not compared", "off"]
OK: Final = "ok"
REFUSED: Final = "refused"
ACCEPTED: Final = "accepted"
NOT_COMPARED: Final = "not compared"
OFF: Final = "off"
SHOWN = 3
"""Reasons in a message; the table has them all."""


@dataclass(frozen=True, kw_only=True)
class MaxFallsConfig:
    """Relative falls allowed for single counts; unset: `max_fall`."""

    items: float | None = None
    """Of items. Unset: `checks.max_fall`."""
    users: float | None = None
    """Of users with at least one interaction after cleaning."""
    interactions: float | None = None
    """Of interactions after cleaning."""

    def __post_init__(self) -> None:
        for name in ("items", "users", "interactions"):
            _require_share(f"checks.max_falls.{name}", getattr(self, name) or 0)


@dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """How far the input may differ from the champion's, and how small it may be."""

    enabled: bool = True
    """Off: nothing is compared, and nothing is refused."""
    max_fall: float = 0.1
    """Allowed relative fall of the numbers of items, users and interactions: 0.1 lets 90 % pass."""
    max_falls: MaxFallsConfig = field(default_factory=MaxFallsConfig)
    max_content_fall: float = 0.05
    """Allowed fall of the share of items with usable content, absolute, in each modality."""
    max_dropped_rise: float = 0.1
    """Allowed rise of the share of interactions that cleaning drops, absolute."""
    min_items: int = 0
    """Floor of the number of items, also for a first night. It cannot be accepted, only lowered."""
    min_users: int = 0
    """The same of users."""
    min_interactions: int = 0
    """The same of interactions."""

    def __post_init__(self) -> None:
        for name in ("max_fall", "max_content_fall", "max_dropped_rise"):
            _require_share(f"checks.{name}", getattr(self, name))
        for name in ("min_items", "min_users", "min_interactions"):
            if getattr(self, name) < 0:
                raise ValueError(f"checks.{name} is {getattr(self, name)}; it is a number of at least 0")


def _require_share(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{key} is {value}; it is a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison, spelled for people."""

    name: str
    then: str
    """The champion's."""
    now: str
    allowed: str
    verdict: Verdict
    note: str = ""
    """Why it was not compared."""
    margin: float | None = None
    """Share that may still change before it is refused: of the champion's count (of the floor), or of items or rows if
    the figure is itself a share. Negative: refused, or accepted. None if the row has no such margin."""
    floor: bool = False
    """An absolute floor, which holds also where the change is accepted."""

    def reason(self) -> str:
        """The row as a line."""
        then = "" if self.floor else f"{self.then} then, "
        return f"{self.name}: {then}{self.now} now (allowed: {self.allowed})"

    def outcome(self) -> str:
        """The verdict, with why it is none."""
        return f"{self.verdict}: {self.note}" if self.note else self.verdict


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What the checks came to."""

    verdict: Verdict
    champion: str | None = None
    """Run id of the champion compared with."""
    note: str = ""
    """Why there was nothing to compare with."""
    rows: list[Check] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """The rows that were refused or accepted, a line each."""


def require_passed(checks: Checks) -> None:
    """Raise `ChecksRefusedError`, one sentence, where the checks refused; the table is for the caller to show."""
    refused = [row for row in checks.rows if row.verdict == REFUSED]
    changed, below = ([row.reason() for row in refused if row.floor == floor] for floor in (False, True))
    told, mend = [], []
    if changed:
        told.append(f"it differs too much from that of the champion {checks.champion} ({_some(changed)})")
        mend.append("accept the change for this time with --accept-change")
    if below:
        told.append(f"it is smaller than [checks] allows ({_some(below)})")
        mend.append("lower the floor in [checks]")
    if told:
        raise ChecksRefusedError(f"the input is refused: {' and '.join(told)}; mend it, or {' and '.join(mend)}")


def _some(reasons: list[str]) -> str:
    more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    return "; ".join(reasons[:SHOWN]) + more


def lines_of(checks: Checks) -> list[str]:
    """The rows as aligned lines under a heading, for a terminal or a log."""
    against = f"compared with the champion {checks.champion}" if checks.champion else checks.note
    lines = [f"checks of the input: {checks.verdict}; {against}"]
    if not checks.rows:
        return lines
    cells = [
        ("", "then", "now", "allowed", ""),
        *((row.name, row.then, row.now, row.allowed, row.outcome()) for row in checks.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for name, then, now, allowed, verdict in cells:
        figures = f"{then:>{widths[1]}}  {now:>{widths[2]}}  {allowed:<{widths[3]}}"
        lines.append(f"  {name:<{widths[0]}}  {figures}  {verdict}".rstrip())
    return lines
