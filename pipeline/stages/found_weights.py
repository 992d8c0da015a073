"""Weights that are `auto`: what the champion's training has found, where it had the settings of this run.

The champion is the one that stood when the run began, so that a killed and resumed run trains with the same weights.
"""

from dataclasses import dataclass, replace
from typing import Any

from model.config import ModelConfig, starting_weights
from pipeline import stages
from pipeline.config.recorded import differences, with_defaults
from pipeline.dataset.records import Training
from pipeline.errors import StoreError
from pipeline.registry.predecessor import predecessor
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.run import Run


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Of an earlier training; None: nothing was found that this one may use."""

    run_id: str | None = None
    """Whose training searched them."""
    training: dict[str, float] | None = None
    """By the names of `model.config.Weights`."""
    taste: dict[str, float] | None = None
    """By modality."""


def found_weights(run: Run, modalities: list[str]) -> FoundWeights:
    """What the champion knows for a model with these modalities.

    A champion that is damaged or was trained otherwise is no reason to fail: weights are found anew.
    """
    if run.config.train.auto_weights != "champion":
        return FoundWeights()
    before = predecessor(run.path, run.store)
    if before.run_id is None:
        return FoundWeights()
    try:
        manifest = read_manifest(run.store.release(before.run_id))
        training = manifest.training
        if training is None or not training.weights or not _same_settings(run, manifest, training, modalities):
            return FoundWeights()
    except StoreError as error:
        run.reporter.say(f"train: finds its weights anew: {error}")
        return FoundWeights()
    return FoundWeights(
        run_id=training.weights_of or manifest.run_id, training=training.weights, taste=training.taste_weights or None
    )


def with_found_weights(model: ModelConfig, training: Training | None) -> ModelConfig:
    """`model` with the content's weight that its training came to."""
    weights = training.weights if training else {}
    return replace(model, content_weight=weights.get("content_weight", starting_weights(model).content_weight))


def _same_settings(run: Run, manifest: Manifest, training: Training, modalities: list[str]) -> bool:
    wanted = run.config.as_dict()
    then = with_defaults(manifest.config, wanted, run.store.release(manifest.run_id))
    encoders = {name: encoder.key for name, encoder in manifest.encoders.items()}
    prepared = run.require(stages.PREPARE).encoders
    return not differences(
        _settings(then, training.modalities, encoders),
        _settings(wanted, modalities, {name: encoder.key for name, encoder in prepared.items()}),
    )


def _settings(config: dict[str, Any], modalities: list[str], encoders: dict[str, str]) -> dict[str, Any]:
    """What the best weights depend on, but for the data itself."""
    return {
        "model": {**config["model"], "modalities": modalities},
        "objective": config["train"]["objective"],
        "encoders": {name: encoders.get(name) for name in modalities},
    }
