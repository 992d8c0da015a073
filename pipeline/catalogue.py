"""Reading the user's catalogue and interactions: parquet, csv or jsonl(.gz), lazily, ids kept exactly."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which interactions count. Applied in this order; the two minima are one pass each."""

    min_rating: float | None = None
    """Interactions rated below this are left out; needs a rating column."""
    min_user_interactions: int = 0
    """Users with fewer interactions are left out."""
    min_item_interactions: int = 0
    """Interactions of items with fewer are left out; the items themselves stay in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class CatalogueConfig:
    """Where the catalogue and the interactions are."""

    items: str
    """File, folder or glob; local (relative to the configuration file) or `s3://`."""
    interactions: tuple[str, ...]
    """The same, one or more."""
    image_root: str = "."
    """Folder that `image_path` is relative to."""
    columns: dict[str, str] = field(default_factory=dict)
    """Their column name to ours (`their_name = "item_id"`)."""
    filter: FilterConfig = field(default_factory=FilterConfig)
