"""The model of a release for items that it has never seen: vectors from content alone, in the release's space.

Shapes: Q items asked about, I items of the release, F feature dimension, D embedding dimension, M modalities.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from safetensors.torch import load_file

from features.modality import ModalityConfig
from features.registry import find_encoders
from model.inductive import ContentSide, NewItems, embed_new_items
from pipeline import stages
from pipeline.catalogue.precomputed import PRECOMPUTED
from pipeline.columns import CONTENT_EMBEDDING, EMBEDDING, ITEM_ID, SOURCE, modality_weight
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.features import ModalityFeatures, load_features
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.release.format import non_null_table
from pipeline.release.manifest import Manifest
from pipeline.release.rotations import Rotations
from pipeline.run import Run
from pipeline.stages.checkpoint import CONTENT_MAP, PARAMETERS
from pipeline.stages.found_weights import with_found_weights
from pipeline.storage.arrow import vector_column
from pipeline.storage.layout import Store


@dataclass(frozen=True)
class ContentModel:
    """A release's run, whose parameters and features its vectors come from."""

    run: Run
    """With the configuration that is asked with: the release's modalities, by the encoders that it was made with."""
    manifest: Manifest
    trained: Config
    """What the run was trained with."""

    @classmethod
    def of(cls, config: Config, store: Store, manifest: Manifest, reporter: Reporter) -> "ContentModel":
        """The model of a release, for the catalogue of a configuration.

        Raises `InputError` where the release's run is no longer in the store, or has no content map.
        """
        run = Run.present(manifest.run_id, config, store, reporter)
        training = run.result(stages.TRAIN)
        if training is None:
            raise InputError(f"run {run.id} is no longer in {store.runs}: its parameters are needed to embed new items")
        if not run.committed(stages.TRAIN).holds(CONTENT_MAP):
            raise InputError(
                f"run {run.id} has no content map: it used no content, or an older version made it; train again"
            )
        trained = compose(manifest.config, base=config.base)
        modalities = {
            name: as_released(name, trained.modalities[name], manifest.encoders[name].key)
            for name in training.modalities
        }
        asked = dataclasses.replace(config, modalities=modalities)
        return cls(dataclasses.replace(run, config=asked), manifest, trained)

    @cached_property
    def known(self) -> Dataset:
        """What the release was trained on."""
        return load_dataset(self.run.folder(stages.PREPARE))

    def features(self, items: pl.DataFrame) -> dict[str, ModalityFeatures]:
        """Features of items of the catalogue, which were extracted before.

        Raises `InputError` where they were not, or are not of the release's encoders.
        """
        config, known = self.run.config, self.known
        found = load_features(config.open_catalogue(), config.modalities, self.run.store, items)
        for name, features in found.items():
            if features.encoder_key != self.manifest.encoders[name].key:
                raise InputError(
                    f"modality {name}: the release was made with encoder {self.manifest.encoders[name].key}, "
                    f"now it is {features.encoder_key}; train again, or install the encoder's former version"
                )
            if features.matrix.shape[1] != known.features[name].shape[1]:
                raise InputError(
                    f"modality {name}: the vectors have the length {features.matrix.shape[1]}, the release was made "
                    f"with {known.features[name].shape[1]}; name vectors of the same encoder, or train again"
                )
        return found

    def table(self, items: pl.DataFrame, features: Mapping[str, ModalityFeatures]) -> pa.Table:
        """Rows of `item_embeddings` for items, in their order; `source` is `content`, or `none` without content."""
        found = self._embed(features)
        rotations = Rotations.of(self.run.store.release(self.run.id))
        weight_QM = found.modality_weight_QM
        has_content = weight_QM.sum(1).numpy() > 0
        columns = {
            ITEM_ID: items[ITEM_ID].to_arrow(),
            EMBEDDING: vector_column(rotations.turned(found.vector_QD.numpy(), EMBEDDING)),
            CONTENT_EMBEDDING: vector_column(rotations.turned(found.content_QD.numpy(), CONTENT_EMBEDDING)),
            SOURCE: pa.array(np.where(has_content, "content", "none").tolist(), pa.string()),
        }
        weights = {modality_weight(name): pa.array(weight_QM[:, index].numpy()) for index, name in enumerate(features)}
        return non_null_table(columns | weights)

    def _embed(self, features: Mapping[str, ModalityFeatures]) -> NewItems:
        known = self.known
        sides = {
            name: ContentSide(
                known_IF=torch.from_numpy(known.features[name]),
                known_present_I=torch.from_numpy(known.present[name]),
                new_QF=torch.from_numpy(of_new.matrix),
                new_present_Q=torch.from_numpy(of_new.present),
            )
            for name, of_new in features.items()
        }
        files = self.run.committed(stages.TRAIN)
        with files.open(PARAMETERS) as file, files.open(CONTENT_MAP) as map_file:
            settings = with_found_weights(self.trained.model, self.manifest.training)
            return embed_new_items(load_file(file), load_file(map_file), sides, settings)


def as_released(name: str, modality: ModalityConfig, key: str) -> ModalityConfig:
    """The modality with the backend that the release was made with."""
    if modality.encoder != PRECOMPUTED:
        for spec in find_encoders(name, modality):
            if spec.key == key:
                return dataclasses.replace(modality, backend="openvino" if spec.by_openvino else "torch")
    return modality
