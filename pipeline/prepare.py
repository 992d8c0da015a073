"""Stage `prepare`: clean, split, index, and gather the features of every item."""

from pathlib import Path

import polars as pl

from pipeline.catalogue import clean_interactions, clean_items, input_digest
from pipeline.columns import IMAGE_PATH, SPLIT, TITLE
from pipeline.dataset import Dataset, index_interactions
from pipeline.extract import ModalityFeatures, load_features
from pipeline.run import Result, Run
from pipeline.split import TEST, TRAIN, VALIDATION, SplitConfig, split_interactions


def prepare(run: Run, folder: Path) -> Result:
    """Write the dataset of the run; items without interactions stay in."""
    config = run.config
    items = clean_items(config, [TITLE, IMAGE_PATH])
    features = load_features(config, run.store, items)
    dataset = assemble(items, clean_interactions(config, items), features, config.split)
    dataset.save(folder)
    indexed = dataset.interactions
    parts = dict(indexed.group_by(SPLIT).len().iter_rows())
    return {
        "counts": {
            "users": len(dataset.users),
            "items": len(items),
            "interactions": len(indexed),
            **{f"{part}_interactions": parts.get(part, 0) for part in (TRAIN, VALIDATION, TEST)},
            **{f"items_with_{name}": int(loaded.present.sum()) for name, loaded in features.items()},
            "items_with_interactions": indexed.select(pl.col("item_index").n_unique()).item(),
        },
        "input_digests": input_digest(config),
        "encoders": {
            name: {
                "key": loaded.encoder_key,
                "revision": loaded.revision,
                "dim": loaded.matrix.shape[1],
                "digest": loaded.digest,
            }
            for name, loaded in features.items()
        },
    }


def assemble(
    items: pl.DataFrame, interactions: pl.DataFrame, features: dict[str, ModalityFeatures], config: SplitConfig
) -> Dataset:
    """Split and index clean interactions, and join the features of the items, which are in the items' order."""
    users, indexed = index_interactions(split_interactions(interactions, config), items)
    return Dataset(
        items=items,
        users=users,
        interactions=indexed,
        features={name: loaded.matrix for name, loaded in features.items()},
        present={name: loaded.present for name, loaded in features.items()},
    )
