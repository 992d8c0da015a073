"""Commands on what runs have made: use a release, check it."""

import os
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, ConfigFile, NumResults, Overrides, Release, load, show
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
    from pipeline.serving.embed import embed_items

    show(embed_items(load(config, overrides), items, out, release, Reporter()), as_json)


@app.command()
def recommend(
    user: Annotated[str, typer.Option("--user", help="A user id.")],
    k: NumResults = 20,
    with_seen: Annotated[bool, typer.Option("--with-seen", help="Also what the user already has.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Where each score comes from.")] = False,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's best items, titles beside ids; without those that the user already has."""
    from pipeline.cli.show import show_list
    from pipeline.serving.lookup import recommend_items

    settings = load(config, overrides)
    store, catalogue = settings.open_store(), settings.open_catalogue()
    found = recommend_items(store, catalogue, user, k, release, with_seen=with_seen)
    if why:
        from pipeline.serving.why import explain

        found = explain(settings, found)
    show(found, as_json, show_list)


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
    from pipeline.cli.show import show_list
    from pipeline.serving.lookup import similar_items

    settings = load(config, overrides)
    found = similar_items(settings.open_store(), settings.open_catalogue(), item, k, release)
    show(found, as_json, show_list)


@app.command()
def to_pgvector(
    release: Release = None,
    schema: Annotated[str | None, typer.Option(help="Schema of the tables, for one shop of several.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Load a release into PostgreSQL with pgvector; MICROREC_PGVECTOR_DSN says where."""
    from pipeline.serving.pgvector import load_release

    dsn = os.environ.get("MICROREC_PGVECTOR_DSN", "")
    show(load_release(load(config, overrides).open_store(), release, dsn, Reporter(), schema), as_json)


@app.command()
def verify(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Run id of the release, or its path.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Re-check every digest, count and schema of a release, and that registry and files agree."""
    from pipeline.registry.audit import audit_release, verify_named_release

    settings = load(config, overrides)
    store = settings.open_store()
    checked = verify_named_release(store, release)  # before a registry is asked, or made
    show(audit_release(store, settings.open_tracking(), checked), as_json)
