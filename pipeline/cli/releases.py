"""Commands on what runs have made: use a release, check it, move the champion."""

import os
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, AsOf, ConfigFile, NumResults, Overrides, Release, load, parse_moment, show
from pipeline.progress import Reporter

app = typer.Typer()


@app.command()
def embed(
    items: Annotated[str, typer.Option("--items", help="Items to embed: parquet, csv or jsonl.")],
    out: Annotated[str, typer.Option("--out", help="Folder to write item_embeddings/part-*.parquet to.")],
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Vectors for items the model has never seen, without retraining."""
    from pipeline.embed import embed_items

    show(embed_items(load(config, overrides), items, out, release, Reporter()), as_json)


@app.command()
def recommend(
    user: Annotated[str, typer.Option("--user", help="A user id.")],
    k: NumResults = 20,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's best items, titles beside ids."""
    from pipeline.lookup import recommend_items
    from pipeline.show import show_list

    show(recommend_items(load(config, overrides), user, k, release), as_json, show_list)


@app.command()
def similar(
    item: Annotated[str, typer.Option("--item", help="An item id.")],
    k: NumResults = 20,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the items nearest to one, titles beside ids."""
    from pipeline.lookup import similar_items
    from pipeline.show import show_list

    show(similar_items(load(config, overrides), item, k, release), as_json, show_list)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    as_of: AsOf = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion, if the quality gate lets it."""
    from pipeline.promotion import promote as move_champion

    show(move_champion(load(config, overrides), version, Reporter(), parse_moment(as_of)), as_json)


@app.command()
def rollback(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Make the champion before this one the champion again."""
    from pipeline.promotion import rollback as move_back

    show(move_back(load(config, overrides), Reporter()), as_json)


@app.command()
def to_pgvector(
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Load a release into PostgreSQL with pgvector; MICROREC_PGVECTOR_DSN says where."""
    from pipeline.consumers.pgvector import load_release

    result = load_release(load(config, overrides), release, os.environ.get("MICROREC_PGVECTOR_DSN", ""), Reporter())
    show(result, as_json)


@app.command()
def verify(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Run id of the release, or its path.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Re-check every digest, count and schema of a release, and that registry and files agree."""
    from pipeline.audit import verify_named_release

    show(verify_named_release(load(config, overrides), release), as_json)
