"""A list of items as a small page with pictures: what `recommend` and `similar` write with `--html`."""

from pathlib import Path

import polars as pl

from pipeline.catalogue.catalogue import Catalogue
from pipeline.columns import IMAGE_PATH, ITEM_ID, TITLE
from pipeline.errors import InputError
from pipeline.release.cards import make_cards
from pipeline.release.page import write_page
from pipeline.serving.lookup import Recommendations, Similar


def write_list(file: Path, catalogue: Catalogue, found: Recommendations | Similar) -> None:
    """Write the page, with titles and pictures of the catalogue as it is now.

    Raises `InputError` where the file cannot be written.
    """
    items = catalogue.scan_items()
    names = items.collect_schema().names()
    shown = [ITEM_ID, *(name for name in (TITLE, IMAGE_PATH) if name in names)]
    ids = [one.item_id for one in found.items]
    asked_for = found.item_id if isinstance(found, Similar) else None
    wanted = pl.col(ITEM_ID).is_in(ids) | (pl.col(ITEM_ID).cast(pl.String) == pl.lit(asked_for, pl.String))
    rows = catalogue.collect_items(items.filter(wanted).select(shown)).unique(ITEM_ID, keep="first")
    asked = rows[ITEM_ID].filter(~rows[ITEM_ID].is_in(ids)).to_list()
    cards = make_cards(catalogue, rows, [*ids, *asked])
    try:
        write_page(file, "list.html", found=found, cards=cards, asked=asked)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"--html {file}: {error.strerror}; name a file in a folder that exists") from error
