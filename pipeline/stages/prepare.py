"""Stage `prepare`: clean, split, index, and gather the features of every item."""

from pathlib import Path

import polars as pl

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.columns import IMAGE_PATH, ITEM_INDEX, SPLIT, TEST, TITLE, TRAIN, VALIDATION
from pipeline.dataset.dataset import Dataset, index_interactions
from pipeline.dataset.features import ModalityFeatures, load_features
from pipeline.dataset.kinds import KIND_SETTING, EvaluationConfig, with_kind
from pipeline.dataset.records import EncoderRecord
from pipeline.dataset.split import split_interactions
from pipeline.run import Run
from pipeline.stages.pinned import input_of
from pipeline.stages.pinned_pictures import pinned_listing
from pipeline.stages.results import PrepareResult
from pipeline.stages.warm_start import meant_start, trained_on


def prepare(run: Run, folder: Path) -> PrepareResult:
    """Write the dataset of the run; items without interactions stay in.

    Raises `InputMovedError` where the tables are not those that the run stands on, or are replaced meanwhile.
    """
    config, catalogue = run.config, run.config.open_catalogue()
    with input_of(run) as pin:
        items = read_items(catalogue, config.evaluation)
        features = load_features(catalogue, config.modalities, run.store, items, pinned_listing(run))
        interactions = clean_interactions(catalogue, items)
        start = meant_start(run) if config.split.follows else None
        trained = trained_on(start.run_id, run) if start and start.run_id else None
        split = split_interactions(interactions, config.split, trained)
        dataset = assemble(items, split, features)
    dataset.save(folder)
    return PrepareResult(
        counts=_counts(dataset),
        split_follows=start.run_id if start and trained is not None else None,
        input_digests=pin.digests,
        encoders={
            name: EncoderRecord(
                key=loaded.encoder_key, revision=loaded.revision, dim=loaded.matrix.shape[1], digest=loaded.digest
            )
            for name, loaded in features.items()
        },
        feature_parts={name: list(loaded.parts) for name, loaded in features.items()},
    )


def read_items(catalogue: Catalogue, config: EvaluationConfig) -> pl.DataFrame:
    """The cleaned items with what the report shows of them, and their kinds.

    Raises `InputError` where there is no such column.
    """
    catalogue.require_columns(config.columns, KIND_SETTING)
    shown = [TITLE, IMAGE_PATH, *config.columns]
    return with_kind(clean_items(catalogue, shown), config)


def _counts(dataset: Dataset) -> dict[str, int]:
    interactions = dataset.interactions
    parts = dict(interactions.group_by(SPLIT).len().iter_rows())
    return {
        "users": len(dataset.users),
        "items": len(dataset.items),
        "interactions": len(interactions),
        **{f"{part}_interactions": parts.get(part, 0) for part in (TRAIN, VALIDATION, TEST)},
        **{f"items_with_{name}": int(present.sum()) for name, present in dataset.present.items()},
        "items_with_interactions": interactions[ITEM_INDEX].n_unique(),
    }


def assemble(items: pl.DataFrame, split: pl.DataFrame, features: dict[str, ModalityFeatures]) -> Dataset:
    """Index split interactions, and join the features of the items, which are in the items' order."""
    users, indexed = index_interactions(split, items)
    return Dataset(
        items=items,
        users=users,
        interactions=indexed,
        features={name: loaded.matrix for name, loaded in features.items()},
        present={name: loaded.present for name, loaded in features.items()},
    )
