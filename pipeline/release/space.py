"""The space of a release's vectors, the champion's or that of a new line, and how far they moved in it."""

from dataclasses import dataclass, field
from typing import Literal

IndexKind = Literal["flat", "hnsw", "ivf-pq", "int8"]
ROTATION = "rotation.safetensors"
"""Of a release that was rotated: float64 (D, D) for each of its vector columns, by the column's name."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a release is written."""

    align: Literal["champion", "none"] = "champion"
    """`champion`: rotate users and items into the champion's space; scores stay. `none`: leave them in their own
    space."""
    signing_key: str | None = None
    """File of an Ed25519 key (PEM) that signs the release; relative to the configuration file
    (docs/explanation/security.md#signed-releases)."""
    public_keys: tuple[str, ...] = ()
    """Files of Ed25519 public keys (PEM). If there are any, `promote`, `rollback`, `verify` and `to-pgvector` refuse
    a release or an increment that no such key has signed."""
    index: IndexKind = "flat"
    """Kind of `index.faiss`. `flat`: exact. `hnsw`: fast, twice the size. `int8`: a quarter of the size. `ivf-pq`: an
    eighth of the size, with far lower recall; exact below 1,000 items. The manifest has the measured recall."""


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """What `index.faiss` is, and how much of an exact search it finds."""

    kind: IndexKind
    bytes: int
    recall: float
    """Mean share of a user's 20 best items, by exact inner product, that the index finds among its 20."""
    queries: int
    """Users that this was measured on."""


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
