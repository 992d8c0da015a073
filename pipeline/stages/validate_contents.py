"""What `validate` finds of the content of items, a modality at a time."""

import dataclasses
import hashlib
from collections.abc import Sequence

import polars as pl

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.registry import find_encoder
from features.text_limits import TextLimit
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts, read_texts
from pipeline.catalogue.pictures import Problem
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, LONG
from pipeline.stages.validate_pictures import NAMED, UNREAD, Look
from pipeline.stages.validation_report import ContentReport, SameContent

_EXAMPLES, _EXAMPLE_LENGTH = 3, 100
_COUNT = "count"


def check_content(
    catalogue: Catalogue, name: str, modality: ModalityConfig, items: pl.DataFrame, look: Look | None
) -> ContentReport:
    """Count the content of every item in one modality.

    Args: look: at the pictures, where a modality is made of them.

    Raises `InputError` or `FeatureError` where its columns, pictures or vectors cannot be used at all.
    """
    if modality.encoder == PRECOMPUTED:
        return _vectors(catalogue, modality, items)
    if look is None or modality.columns:
        return _texts(catalogue, name, modality, items)
    return _pictures(look, items)


def _report(content: str, items: pl.DataFrame, digests: pl.Series) -> ContentReport:
    """Args: digests: of the items' contents, null without."""
    ids = items[ITEM_ID]
    missing = ids.filter(digests.is_null())
    return ContentReport(
        content=content,
        usable=len(items) - len(missing),
        missing=len(missing),
        missing_items=missing.head(NAMED).to_list(),
        distinct=digests.drop_nulls().n_unique(),
        same=_same(ids, digests),
    )


def _same(ids: pl.Series, digests: pl.Series) -> SameContent | None:
    """The content that most items have, where it is more than one's."""
    counts = digests.drop_nulls().alias(CONTENT_HASH).to_frame().group_by(CONTENT_HASH).len(_COUNT)
    counts = counts.sort(_COUNT, CONTENT_HASH, descending=True).head(1)
    if counts.is_empty() or counts[_COUNT][0] == 1:
        return None
    sharing = ids.filter(digests.eq_missing(counts[CONTENT_HASH][0]))
    return SameContent(items=len(sharing), first=sharing.head(NAMED).to_list())


def _texts(catalogue: Catalogue, name: str, modality: ModalityConfig, items: pl.DataFrame) -> ContentReport:
    limit = _text_limit(name, modality)
    texts = read_texts(catalogue, name, modality.columns, items, limit)
    long = items.filter(texts[LONG].fill_null(value=False))[ITEM_ID]
    with_text = items.filter(texts[CONTENT_HASH].is_not_null())[ITEM_ID].head(_EXAMPLES)
    return dataclasses.replace(
        _report("text", items, texts[CONTENT_HASH]),
        examples=_text_examples(catalogue, modality.columns, with_text),
        long=len(long) if limit else None,
        long_items=long.head(NAMED).to_list(),
        reads=limit.pieces if limit else None,
        cuts=modality.long_texts == "cut",
    )


def _text_limit(name: str, modality: ModalityConfig) -> TextLimit | None:
    try:
        return find_encoder(name, modality).text_limit
    except FeatureError:  # `extract` says what is wrong with it
        return None


def _text_examples(catalogue: Catalogue, columns: Sequence[str], ids: pl.Series) -> list[str]:
    rows = catalogue.scan_items().filter(pl.col(ITEM_ID).is_in(ids.implode())).select(ITEM_ID, *columns)
    found = catalogue.collect_items(rows).unique(ITEM_ID, keep="first").sort(ITEM_ID)
    texts = join_texts(found, columns)
    return [text if len(text) <= _EXAMPLE_LENGTH else text[:_EXAMPLE_LENGTH] + "…" for text in texts]


def _vectors(catalogue: Catalogue, modality: ModalityConfig, items: pl.DataFrame) -> ContentReport:
    vectors = load_precomputed(catalogue, modality, items[ITEM_ID].to_list())
    digests = [
        hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() if there else None
        for row, there in zip(vectors.matrix, vectors.present, strict=True)
    ]
    return dataclasses.replace(
        _report(PRECOMPUTED, items, pl.Series(digests, dtype=pl.String)),
        of_unknown_items=vectors.num_vectors - int(vectors.present.sum()) - vectors.num_zero,
        zero=vectors.num_zero,
        scaled=vectors.num_scaled,
    )


def _pictures(look: Look, items: pl.DataFrame) -> ContentReport:
    found = look.of_items(items)
    named = found[IMAGE_PATH].replace("", None).is_not_null()
    missing = items.filter(~named)[ITEM_ID]
    report = _report("image", items, found[CONTENT_HASH])
    estimated = look.estimated_unreadable(found)
    not_found, not_found_items = look.problems(found, Problem.NOT_FOUND)
    unreadable, unreadable_items = look.problems(found, Problem.UNREADABLE)
    outside, outside_items = look.problems(found, Problem.OUTSIDE)
    usable = found.filter(pl.col(CONTENT_HASH).is_not_null())
    return dataclasses.replace(
        report,
        usable=report.usable - estimated,
        missing=len(missing),
        missing_items=missing.head(NAMED).to_list(),
        examples=usable[IMAGE_PATH].head(_EXAMPLES).to_list(),
        not_found=not_found,
        not_found_items=not_found_items,
        unreadable=unreadable,
        unreadable_items=unreadable_items,
        outside=outside,
        outside_items=outside_items,
        unread=int(found[UNREAD].sum()),
        estimated_unreadable=estimated,
    )
