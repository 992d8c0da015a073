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
from pipeline.catalogue.contents import join_texts, read_texts, require_image_path
from pipeline.catalogue.pictures import Checked, Problem, check_pictures
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, LONG
from pipeline.stages.validation_report import ContentReport, PictureProblem, SameContent

NAMED = 20  # items named per finding
_EXAMPLES, _EXAMPLE_LENGTH = 3, 100
_COUNT = "count"


def check_content(catalogue: Catalogue, name: str, modality: ModalityConfig, items: pl.DataFrame) -> ContentReport:
    """Read the content of every item in one modality.

    Raises `InputError` or `FeatureError` where its columns, pictures or vectors cannot be used at all.
    """
    if modality.encoder == PRECOMPUTED:
        return _vectors(catalogue, modality, items)
    if modality.columns:
        return _texts(catalogue, name, modality, items)
    return _pictures(catalogue, name, items)


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
    )


def _pictures(catalogue: Catalogue, name: str, items: pl.DataFrame) -> ContentReport:
    require_image_path(catalogue, name, items)
    locations = items[IMAGE_PATH].to_list()
    checked = check_pictures(catalogue.pictures(), locations)
    digests = pl.Series([one.digest for one in checked], dtype=pl.String)
    named = pl.Series([bool(location) for location in locations])
    missing = items.filter(~named)[ITEM_ID]
    report = dataclasses.replace(
        _report("image", items, digests), missing=len(missing), missing_items=missing.head(NAMED).to_list()
    )
    problems = {kind: _problems(items, checked, kind) for kind in Problem}
    return dataclasses.replace(
        report,
        examples=[str(one.path) for one in checked if one.digest][:_EXAMPLES],
        not_found=len(problems[Problem.NOT_FOUND]),
        not_found_items=problems[Problem.NOT_FOUND][:NAMED],
        unreadable=len(problems[Problem.UNREADABLE]),
        unreadable_items=problems[Problem.UNREADABLE][:NAMED],
        outside=len(problems[Problem.OUTSIDE]),
        outside_items=problems[Problem.OUTSIDE][:NAMED],
    )


def _problems(items: pl.DataFrame, checked: Sequence[Checked], kind: Problem) -> list[PictureProblem]:
    rows = zip(items[ITEM_ID].to_list(), items[IMAGE_PATH].to_list(), checked, strict=True)
    return [
        PictureProblem(item_id=item, image_path=location, problem=one.told)
        for item, location, one in rows
        if one.problem is kind
    ]
