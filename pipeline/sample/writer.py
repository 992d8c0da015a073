"""Writing the sample: the tables, the pictures and a ready configuration."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, TIMESTAMP, USER_ID
from pipeline.errors import InputError
from pipeline.sample.families import Families, draw_families
from pipeline.sample.pictures import encode, render
from pipeline.sample.tastes import Interactions, draw_interactions, draw_likes
from pipeline.sample.texts import write_text

MARKER = "sample.json"
CONFIG = "microrec.toml"
FAMILIES = "families.parquet"
"""The planted structure, to check what was found; the pipeline never reads it."""
FEWEST_ITEMS, FEWEST_USERS = 20, 10
_RENDERERS = 4
_EVERY_PNG = 15  # most pictures are JPEG, every 15th is PNG
# One stream of random numbers each, so that a change to one part leaves the others as they are.
_STREAMS = {"families": 0, "text": 1, "picture": 2, "likes": 3, "interactions": 4}
_ITEM_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    ITEM_ID: pl.String,
    "title": pl.String,
    "description": pl.String,
    "categories": pl.List(pl.String),
    "brand": pl.String,
    "price": pl.Float64,
    IMAGE_PATH: pl.String,
}


def write_sample(folder: Path, num_items: int = 600, num_users: int = 800, seed: int = 0) -> dict[str, Any]:
    """Write the sample into `folder`; the same arguments give the same files, byte for byte.

    A configuration that was edited since is kept as it is. Returns counts and the configuration's path.

    Raises `InputError` for numbers too small, or a folder that holds anything but this very sample.
    """
    if num_items < FEWEST_ITEMS or num_users < FEWEST_USERS or seed < 0:
        raise InputError(
            f"sample: {num_items} items, {num_users} users, seed {seed}; "
            f"give at least {FEWEST_ITEMS} items, {FEWEST_USERS} users and a seed from 0"
        )
    _claim(folder, {"items": num_items, "users": num_users, "seed": seed})
    families = draw_families(num_items, _stream(seed, "families"))
    interactions = draw_interactions(
        families, draw_likes(num_users, _stream(seed, "likes")), _stream(seed, "interactions")
    )
    items = _item_table(families, seed)
    items.write_parquet(folder / "items.parquet")
    _interaction_table(interactions).write_parquet(folder / "interactions.parquet")
    _family_table(families).write_parquet(folder / FAMILIES)
    _write_pictures(folder, families, items[IMAGE_PATH].to_list(), seed)
    _write_config(folder / CONFIG)
    return {
        "folder": str(folder),
        "items": num_items,
        "users": num_users,
        "interactions": len(interactions.user_R),
        "without_picture": len(families.no_picture | families.absent_file | families.broken_file),
        "without_text": len(families.no_text),
        "never_bought": num_items - len(set(interactions.item_R.tolist())),
        "config": str(folder / CONFIG),
        "next": f"microrec run -c {folder / CONFIG}",
    }


def item_id(item: int) -> str:
    """The id of an item of the sample, such as P00017."""
    return f"P{item:05d}"


def _stream(seed: int, name: str, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[name], number])


def _claim(folder: Path, wanted: dict[str, int]) -> None:
    """Create the folder or recognise it as this sample's; the marker is written before anything else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder")
    marker = folder / MARKER
    text = json.dumps(wanted, sort_keys=True) + "\n"
    if marker.exists():
        found = marker.read_text(encoding="utf-8")
        if found != text:
            raise InputError(
                f"{folder} holds another sample ({found.strip()}, asked for {text.strip()}); "
                "choose another folder or delete it"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds something that is not a sample; choose an empty or a new folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    marker.write_text(text, encoding="utf-8")


def _item_table(families: Families, seed: int) -> pl.DataFrame:
    rows = [
        {
            ITEM_ID: item_id(item),
            **write_text(families, item, _stream(seed, "text", item)),
            IMAGE_PATH: None if item in families.no_picture else f"images/{item_id(item)}{_suffix(item)}",
        }
        for item in range(len(families.factor_IF))
    ]
    return pl.DataFrame(rows, schema=_ITEM_TYPES)


def _suffix(item: int) -> str:
    return ".jpg" if item % _EVERY_PNG else ".png"


def _interaction_table(interactions: Interactions) -> pl.DataFrame:
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            USER_ID: [f"U{user:04d}" for user in interactions.user_R],
            ITEM_ID: [item_id(item) for item in interactions.item_R],
            RATING: interactions.rating_R,
            TIMESTAMP: [start + timedelta(seconds=int(second)) for second in interactions.second_R],
        },
        schema={USER_ID: pl.String, ITEM_ID: pl.String, RATING: pl.Float32, TIMESTAMP: pl.Datetime("us", "UTC")},
    )


def _family_table(families: Families) -> pl.DataFrame:
    names = [families.names(item) for item in range(len(families.factor_IF))]
    ids = [(item_id(item),) for item in range(len(names))]
    rows = [identifier + name for identifier, name in zip(ids, names, strict=True)]
    return pl.DataFrame(rows, schema=[ITEM_ID, "type", "colour", "texture"], orient="row")


def _write_pictures(folder: Path, families: Families, paths: list[str | None], seed: int) -> None:
    """Render in threads; every picture has its own random numbers, so their order does not matter."""

    def write(item: int) -> None:
        path = paths[item]
        if path is None or item in families.absent_file:
            return
        payload = encode(render(*families.names(item), _stream(seed, "picture", item)), _suffix(item))
        cut = len(payload) // 3 if item in families.broken_file else len(payload)
        (folder / path).write_bytes(payload[:cut])

    with ThreadPoolExecutor(_RENDERERS) as pool:
        list(pool.map(write, range(len(paths))))


def _write_config(path: Path) -> None:
    """Write the configuration unless it is there: then it is the same, or the user's own by now."""
    if not path.exists():
        path.write_bytes((files("pipeline.sample") / "template.toml").read_bytes())
