"""What the extraction of texts and that of pictures share: how contents are cut, encoded and written."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from features.encoder import Encoder, EncoderSpec
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import GROUPS_AT_ONCE
from pipeline.dataset.feature_store import Encoded, FeatureStore
from pipeline.dataset.features import fitting
from pipeline.run import Run
from pipeline.stages.batches import MANY


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How contents are cut; only `batches_per_group` changes the vectors."""

    batches_per_group: int = 8
    """Batches that are published as one part."""
    texts_at_once: int = GROUPS_AT_ONCE
    """Groups whose texts are in memory together."""
    many_pictures: int = MANY
    """Pictures from which on processes prepare them."""
    remembered_at_once: int = 4096
    """Pictures that are remembered as one part; a killed extraction reads at most these again."""


DEFAULT = Limits()


@dataclass(frozen=True)
class Job:
    """The extraction of one modality."""

    run: Run
    catalogue: Catalogue
    name: str
    modality: ModalityConfig
    limits: Limits
    pinned: bool
    """Whether the pictures are those that the run's `validate` has listed."""

    @property
    def part_rows(self) -> int:
        """Contents that are published as one part."""
        return self.modality.batch_size * self.limits.batches_per_group

    def fitting(self, specs: Sequence[EncoderSpec], hashes: pl.Series) -> EncoderSpec:
        """The encoder to continue with (`dataset.features.fitting`)."""
        return fitting(specs, self.name, self.run.store, hashes)

    def features(self, spec: EncoderSpec) -> FeatureStore:
        """Where the encoder's vectors are."""
        return FeatureStore(self.run.store.features(self.name, spec.key))


Write = Callable[[Callable[[], None]], None]


@contextmanager
def written_behind() -> Iterator[Write]:
    """Yield what does a write while its caller goes on; a write waits for the one before it."""
    with ThreadPoolExecutor(1) as writer:
        last: list[Future[None]] = []

        def write(work: Callable[[], None]) -> None:
            if last:
                last.pop().result()
            last.append(writer.submit(work))

        yield write
        if last:
            last.pop().result()


def encode_batch(encoder: Encoder, batch: Sequence[tuple[str, Any]], size: int = 0) -> list[Encoded]:
    """What becomes of each content, by its hash.

    Args: size: contents that the encoder is given; the last is repeated where there are fewer. What an encoder makes of
    a picture depends on how many it is given, in the last bits, and not on which.
    """
    readable = [prepared for _, prepared in batch if not isinstance(prepared, UnreadableError)]
    filled = readable + readable[-1:] * (size - len(readable))
    vectors = iter(encoder.encode(filled) if filled else ())
    return [
        Encoded(digest, None, str(prepared))
        if isinstance(prepared, UnreadableError)
        else Encoded(digest, next(vectors))
        for digest, prepared in batch
    ]
