"""Small catalogues that are right but for one thing: six items, four users with four items each."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config.config import Config, compose
from pipeline.documents import as_document
from pipeline.stages.validate import check_catalogue

ITEMS = {"item_id": [f"A{n}" for n in range(1, 7)], "title": [f"title {n}" for n in range(1, 7)]}
_TASTES = {"u1": "1246", "u2": "1235", "u3": "2346", "u4": "1345"}
PAIRS = [(user, f"A{number}") for user, numbers in _TASTES.items() for number in numbers]
INTERACTIONS = {"user_id": [user for user, _ in PAIRS], "item_id": [item for _, item in PAIRS]}


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Write columns in the format that the name says, line by line in text formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(columns).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(columns).write_csv(path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shop(folder: Path, items: str | None = None, interactions: str | None = None, **sections: Any) -> Config:
    """The configuration of a folder; tables that are not named are written, and right."""
    if items is None:
        items = write(folder / "items.csv", ITEMS).name
    if interactions is None:
        interactions = write(folder / "inter.csv", INTERACTIONS).name
    text = {"encoder": "all-minilm-l6-v2", "columns": ["title"]}
    catalogue = {"items": items, "interactions": [interactions], **sections.pop("catalogue", {})}
    return compose({"catalogue": catalogue, "modalities": {"text": text}, **sections}, base=folder)


def checked(config: Config) -> dict[str, Any]:
    """What `validate` reports, as JSON has it."""
    report: dict[str, Any] = as_document(check_catalogue(config))
    return report


def warnings(config: Config) -> str:
    """The warnings of `validate`, in one text."""
    return "\n".join(checked(config)["warnings"])


def items_of(config: Config) -> dict[str, list[Any]]:
    """The catalogue's table as it is read."""
    return config.open_catalogue().scan_items().collect().to_dict(as_series=False)


def pairs_of(config: Config) -> list[tuple[Any, ...]]:
    """The rows of the interactions as they are read, sorted."""
    return sorted(config.open_catalogue().scan_interactions().collect().select("user_id", "item_id").rows())
