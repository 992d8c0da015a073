"""Stage `extract`: encode content that was not seen before (`extract_texts`, `extract_pictures`)."""

import time
from dataclasses import replace
from pathlib import Path

import polars as pl

from features.errors import FeatureError
from features.openvino_backend import NotConvertedError
from features.registry import find_encoders
from pipeline.catalogue.cleaning import clean_items
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import IMAGE_PATH, ITEM_ID
from pipeline.errors import InputError
from pipeline.run import Run
from pipeline.stages.encoding import DEFAULT, Job, Limits
from pipeline.stages.extract_pictures import extract_pictures
from pipeline.stages.extract_texts import extract_texts
from pipeline.stages.pinned import pinned_input
from pipeline.stages.results import Extraction, ExtractResult


def extract(run: Run, folder: Path) -> ExtractResult:
    """Encode what is new of every modality; the features are in the store, so the folder stays empty."""
    return extract_pinned(run)


def extract_pinned(run: Run, modality: str | None = None, shard: tuple[int, int] = (0, 1)) -> ExtractResult:
    """`extract_features` of the tables that the run stands on.

    Raises `InputMovedError` where they are others, before or after.
    """
    with pinned_input(run):
        return extract_features(run, modality, shard, pinned=True)


def extract_features(
    run: Run,
    modality: str | None = None,
    shard: tuple[int, int] = (0, 1),
    limits: Limits = DEFAULT,
    *,
    pinned: bool = False,
    items: pl.DataFrame | None = None,
) -> ExtractResult:
    """Encode what is new, of one modality or all, of one shard or all.

    Args:
        pinned: the pictures are those that the run's `validate` has listed, not those of now.
        items: only these, of `clean_items`; None: all of the catalogue's.

    Raises:
        InputError: a modality that is not configured, or a catalogue that cannot be read.
        FeatureError: an encoder that cannot be used.
    """
    config, catalogue = run.config, run.config.open_catalogue()
    if modality is not None and modality not in config.modalities:
        raise InputError(f"--modality {modality!r}: configured are {', '.join(config.modalities)}")
    wanted = clean_items(catalogue, [IMAGE_PATH]) if items is None else items
    names = [modality] if modality else list(config.modalities)
    done = {
        name: _extract(Job(run, catalogue, name, config.modalities[name], limits, pinned), wanted, shard)
        for name in names
    }
    return ExtractResult(modalities=done)


def _extract(job: Job, items: pl.DataFrame, shard: tuple[int, int]) -> Extraction:
    start = time.monotonic()
    if job.modality.encoder == PRECOMPUTED:
        present = load_precomputed(job.catalogue, job.modality, items[ITEM_ID].to_list()).present
        return Extraction(encoder=PRECOMPUTED, items=len(items), with_vector=int(present.sum()))
    specs = find_encoders(job.name, job.modality)
    work = extract_texts if specs[0].content == "text" else extract_pictures
    try:
        done = work(job, specs, items, shard)
    except NotConvertedError as error:
        others = [spec for spec in specs if not spec.by_openvino]
        if not others:
            raise FeatureError(
                f"modalities.{job.name}: {job.modality.encoder}: {error}; use backend = 'torch', or leave it out"
            ) from error
        job.run.reporter.say(f"extract {job.name}: {error}; torch runs it")
        done = work(job, others, items, shard)
    return replace(done, seconds=round(time.monotonic() - start, 3))
