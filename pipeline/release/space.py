"""In which space a release's vectors lie, the champion's or that of a new line, and how far they moved in it."""

from dataclasses import dataclass, field
from typing import Literal

ROTATION = "rotation.safetensors"
"""Of a release that was rotated: float64 (D, D) for each of its vector columns, by the column's name."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a release is written."""

    align: Literal["champion", "none"] = "champion"
    """Rotate users and items into the champion's space, scores unchanged; `none`: leave them as trained, in a space of
    their own."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where the vectors lie. Those of one line are comparable; scores are inner products in any case."""

    first: str
    """Run of the first release of the line."""
    champion: str | None = None
    """Run of the release that this one was rotated to, and that `delta/` is relative to; None of a first release."""
    champion_digest: str | None = None
    """Of that release."""
    reason: str | None = None
    """Why a line begins; None where one goes on."""
    rotation_sha256: str | None = None
    """Of the file `rotation.safetensors`."""
    known: dict[str, int] = field(default_factory=dict)
    """`items` and `users` that both releases know."""
    residual: dict[str, float] = field(default_factory=dict)
    """Of `items`, `users` and `content`: |rotated - champion's| / |champion's|, over what both know."""
    score_scale: float = 1.0
    """Root mean square of the scores of what both know, relative to the champion's."""
    line_score_scale: float = 1.0
    """The same relative to the first release of the line: the product along it."""


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """One slice; None where nothing was there to measure."""

    count: int
    """Items or users that both know."""
    cosine_median: float | None = None
    cosine_tail: float | None = None
    """5 % of the cosines lie below."""
    neighbours_kept: float | None = None
    """Share of an item's 20 nearest by cosine that are still among them."""
    recommendations_kept: float | None = None
    """Share of the places of the champion's lists of 20, held by items of the slice, that the new lists still have."""
    norm_ratio: float | None = None
    """Mean length of the vectors, relative to the champion's."""
    drawn: int = 0
    """Items whose neighbours, or users whose lists, were searched."""
