"""Commands on what runs have made: use a release, check it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import RELEASE, AsJson, ConfigFile, Html, NumResults, Overrides, Release, load, show
from pipeline.progress import Reporter

if TYPE_CHECKING:
    from pipeline.catalogue.catalogue import Catalogue
    from pipeline.serving.lookup import Recommendations, Similar

app = typer.Typer()


@app.command(rich_help_panel=RELEASE)
def embed(
    items: Annotated[str, typer.Option("--items", help="Items to embed: parquet, csv or jsonl.")],
    out: Annotated[str, typer.Option("--out", help="Folder to write item_embeddings/part-*.parquet to.")],
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make vectors for items that the model has never seen, without training."""
    from pipeline.serving.embed import embed_items

    show(embed_items(load(config, overrides), items, out, release, Reporter()), as_json)


@app.command(rich_help_panel=RELEASE)
def increment(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Publish vectors of the catalogue's new items, beside the champion's release."""
    from pipeline.serving.increment import add_increment

    show(add_increment(load(config, overrides), Reporter()), as_json)


@app.command(rich_help_panel=RELEASE)
def recommend(
    user: Annotated[str, typer.Option("--user", help="A user id.")],
    k: NumResults = 20,
    with_seen: Annotated[bool, typer.Option("--with-seen", help="Also list items that the user already has.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Say where each score comes from.")] = False,
    html: Html = None,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's best items with ids and titles, without those that the user already has."""
    from pipeline.cli.show import show_list
    from pipeline.serving.lookup import recommend_items

    settings = load(config, overrides)
    store, catalogue = settings.open_store(), settings.open_catalogue()
    found = recommend_items(store, catalogue, user, k, release, with_seen=with_seen, with_new=not why)
    if why:
        from pipeline.serving.why import explain

        found = explain(settings, found)
    _write_page(html, catalogue, found)
    show(found, as_json, show_list)


@app.command(rich_help_panel=RELEASE)
def similar(
    item: Annotated[str, typer.Option("--item", help="An item id.")],
    k: NumResults = 20,
    html: Html = None,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the items nearest to an item, with ids and titles."""
    from pipeline.cli.show import show_list
    from pipeline.serving.lookup import similar_items

    settings = load(config, overrides)
    catalogue = settings.open_catalogue()
    found = similar_items(settings.open_store(), catalogue, item, k, release)
    _write_page(html, catalogue, found)
    show(found, as_json, show_list)


def _write_page(html: Path | None, catalogue: "Catalogue", found: "Recommendations | Similar") -> None:
    if html is not None:
        from pipeline.serving.list_page import write_list

        write_list(html, catalogue, found)


@app.command(rich_help_panel=RELEASE)
def to_pgvector(
    release: Release = None,
    schema: Annotated[str | None, typer.Option(help="Schema of the tables, for one shop of several.")] = None,
    delta: Annotated[
        bool, typer.Option("--delta", help="Load only what changed since the release that is loaded.")
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Load a release into PostgreSQL with pgvector; MICROREC_PGVECTOR_DSN says where."""
    from pipeline.release.signature import read_public_keys
    from pipeline.serving.pgvector import load_release

    settings, dsn = load(config, overrides), os.environ.get("MICROREC_PGVECTOR_DSN", "")
    loaded = load_release(
        settings.open_store(),
        release,
        dsn,
        Reporter(),
        schema,
        delta=delta,
        catalogue=settings.open_catalogue(),
        columns=settings.pgvector.columns,
        keys=read_public_keys(settings.public_keys),
    )
    show(loaded, as_json)


@app.command(rich_help_panel=RELEASE)
def verify(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Run id of the release, or its path.")],
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key", help="Public Ed25519 key (PEM) that must fit its signature; default export.public_keys."
        ),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Re-check every digest, count and schema of a release, and that registry and files agree."""
    from upath import UPath

    from pipeline.registry.audit import audit_release, verify_named_release
    from pipeline.release.signature import read_public_keys, require_signed

    settings = load(config, overrides)
    store = settings.open_store()
    keys = read_public_keys([public_key], "--public-key") if public_key else read_public_keys(settings.public_keys)
    checked = verify_named_release(store, release)  # before a registry is asked, or made
    if keys:
        require_signed(UPath(checked.release), keys)
    show(audit_release(store, settings.open_tracking(reading=True), checked, keys), as_json)
