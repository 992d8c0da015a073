"""Section `[pgvector]`: what `to-pgvector` loads beside the vectors. No part of what a run depends on."""

from dataclasses import dataclass

TAKEN = ("item_id", "embedding", "source")


@dataclass(frozen=True, kw_only=True)
class PgvectorConfig:
    """What stands in the tables."""

    columns: tuple[str, ...] = ()
    """Columns of the catalogue that `item_vectors` gets too, as text: `["title", "categories"]`. Lists are joined by
    commas. They are read when the release is loaded. An item that has left the catalogue has null."""

    def __post_init__(self) -> None:
        for name in self.columns:
            if name in TAKEN or self.columns.count(name) > 1:
                raise ValueError(f"pgvector.columns: {name!r} stands in the table already; leave it out")
