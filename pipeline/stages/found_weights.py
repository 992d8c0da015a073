"""Weights that are `auto`: those that the champion's training found, if it had the settings of this run.

The champion is the one that stood when the run began, so that a killed and resumed run trains with the same weights.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from model.config import ModelConfig, Weights, given_weights, starting_weights
from pipeline import stages
from pipeline.columns import TRAIN, VALIDATION
from pipeline.config.config import WARM_START_CHAMPION, WARM_START_NONE
from pipeline.config.recorded import differences, with_defaults
from pipeline.dataset.records import Training
from pipeline.documents import as_document, as_record
from pipeline.errors import StoreError
from pipeline.registry.predecessor import predecessor
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.run import Run
from pipeline.storage.files import as_json, create_bytes, parse_json, read_bytes

AUTO, TRAIN_INTERACTIONS = "auto", f"{TRAIN}_interactions"
NUM_WEIGHTS, RECORD = len(fields(Weights)), "found_weights.json"
MOST_GROWTH = 0.1
"""Weights stay until training interactions are this share more, or fewer: the best L2 moves with density."""


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Weights of an earlier training; None: nothing was found that this one may use."""

    run_id: str | None = None
    """The run whose training searched them."""
    training: dict[str, float] | None = None
    """By the names of `model.config.Weights`."""
    taste: dict[str, float] | None = None
    """By modality."""
    interactions: int | None = None
    """Number of training interactions on which they were searched."""
    searches_on: bool = False
    """Whether a new search begins from them: the earlier one was cut off, or the data has changed."""


NOTHING_FOUND = FoundWeights()


def found_weights(run: Run, modalities: list[str]) -> FoundWeights:
    """An earlier training's weights for a model with these modalities; decided once in a run.

    A champion that is damaged or was trained otherwise does not fail the night: weights are found anew. A run that the
    training begins from by its id brings its own weights, without which its parameters are another model's.
    """
    file = run.path / RECORD
    try:
        payload = read_bytes(file)
    except FileNotFoundError:
        payload = create_bytes(file, as_json(as_document(_look(run, modalities))))
    return as_record(FoundWeights, parse_json(file, payload), file)


def _look(run: Run, modalities: list[str]) -> FoundWeights:
    config = run.config
    is_auto = (
        len(given_weights(config.model, config.train.objective)) < NUM_WEIGHTS or config.model.taste_weight == AUTO
    )
    if not is_auto or config.train.auto_weights != WARM_START_CHAMPION:
        return NOTHING_FOUND
    try:
        if config.train.warm_start not in (WARM_START_NONE, WARM_START_CHAMPION):
            return _found_by(Run.present(config.train.warm_start, config, run.store, run.reporter))
        return _champions(run, modalities)
    except StoreError as error:
        run.reporter.say(f"train: finds its weights anew: {error}")
        return NOTHING_FOUND


def _found_by(earlier: Run) -> FoundWeights:
    training = earlier.result(stages.TRAIN)
    return _of(training, earlier.id, training.weights_interactions) if training else NOTHING_FOUND


def _champions(run: Run, modalities: list[str]) -> FoundWeights:
    before = predecessor(run.path, run.store)
    if before.run_id is None:
        return NOTHING_FOUND
    manifest = read_manifest(run.store.release(before.run_id), before.manifest_sha256)
    training = manifest.training
    if manifest.release_digest != before.digest or training is None or not training.weights:
        return NOTHING_FOUND
    if not _same_settings(run, manifest, training, modalities):
        return NOTHING_FOUND
    then, now = training.weights_interactions or manifest.counts.get(TRAIN_INTERACTIONS, 0), train_interactions(run)
    if training.weights_of is None and not run.require(stages.PREPARE).counts[f"{VALIDATION}_interactions"]:
        return NOTHING_FOUND  # nothing can be searched
    if training.weights_of is None:
        why = f"{manifest.run_id} has no finished search"
    elif abs(now - then) > MOST_GROWTH * then:
        why = f"they were found on {then:,} interactions, now there are {now:,}"
    else:
        return _of(training, manifest.run_id, then)
    run.reporter.say(f"train: looks for its weights again: {why}")
    if run.config.train.warm_start == WARM_START_NONE:
        return NOTHING_FOUND
    return replace(_of(training, manifest.run_id, then), taste=None, searches_on=True)


def _of(training: Training, run_id: str, interactions: int | None) -> FoundWeights:
    if not training.weights:  # an earlier version's
        return NOTHING_FOUND
    return FoundWeights(
        run_id=training.weights_of or run_id,
        training=training.weights,
        taste=training.taste_weights or None,
        interactions=interactions,
    )


def train_interactions(run: Run) -> int:
    """How many interactions the run trains on."""
    return run.require(stages.PREPARE).counts[TRAIN_INTERACTIONS]


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
