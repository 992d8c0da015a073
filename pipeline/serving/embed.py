"""`microrec embed`: vectors for items that the model of a release has never seen."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from upath import UPath

from pipeline.catalogue.cleaning import clean_items
from pipeline.columns import IMAGE_PATH, SOURCE
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.champion import choose_release
from pipeline.release.format import ITEM_EMBEDDINGS, write_table
from pipeline.release.manifest import read_manifest
from pipeline.serving.content_model import ContentModel
from pipeline.stages.extract import extract_features
from pipeline.storage.files import (
    is_complete,
    is_local,
    publish_folder,
    require_known_scheme,
    require_reachable,
    resolve,
    scratch,
)


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What `embed` wrote."""

    release: str
    """Run id of the release whose space the vectors are in."""
    items: int
    out: str
    sources: dict[str, int]
    """Items by what their vector rests on."""


def embed_items(config: Config, items_file: str, out: str, release_name: str | None, reporter: Reporter) -> Embedded:
    """Encode the items, map their content to vectors, and write `OUT/item_embeddings/part-*.parquet`.

    `items_file` and `out` are local, relative to the working directory, or `s3://`.

    The rows have the release's own schema, with `source` = `content` (or `none` for an item without content).

    Raises:
        InputError: the release's run is no longer in the store, its encoders are not the configured ones, or
            OUT holds embeddings already.
    """
    for option, location in (("--items", items_file), ("--out", out)):
        require_known_scheme(location, option)
    store, place = config.open_store(), resolve(out, Path.cwd())
    require_reachable(place, "--out")
    target = place / ITEM_EMBEDDINGS
    # On a disk only whole folders are ever published: one without its marker is somebody else's.
    if is_complete(target) or (is_local(target) and target.exists()):
        raise _taken(target)
    release = choose_release(store, release_name)
    if str(release) != str(store.release(release.name)):
        raise InputError(f"{release} is not in {store.releases}: give the store it belongs to with --set store.root=…")
    manifest, items_path = read_manifest(release), str(resolve(items_file, Path.cwd()))
    catalogue = dataclasses.replace(config.catalogue, items=items_path, items_from="catalogue")
    model = ContentModel.of(dataclasses.replace(config, catalogue=catalogue), store, manifest, reporter)
    items = clean_items(model.run.config.open_catalogue(), [IMAGE_PATH])
    extract_features(model.run)
    table = model.table(items, model.features(items))
    with scratch(target) as folder:
        write_table(table, folder / "table", manifest.release_digest)
        if not publish_folder(folder / "table", target):
            raise _taken(target)
    return Embedded(release=manifest.run_id, items=len(items), out=str(target), sources=_count(table))


def _taken(target: UPath) -> InputError:
    return InputError(f"{target} is there already; choose another --out or delete it")


def _count(table: pa.Table) -> dict[str, int]:
    counts: dict[str, int] = {row["values"]: row["counts"] for row in table.column(SOURCE).value_counts().to_pylist()}
    return counts
