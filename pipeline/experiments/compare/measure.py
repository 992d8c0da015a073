"""One contestant on one seed: choose its settings on validation, measure the choice on test."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
import torch

from model.allocator import freed_memory_kept
from model.baselines.own_loss import with_own_loss
from model.divergence import DivergedError
from model.evaluation import InnerProduct, Scorer
from model.finishing.finish import finish
from model.micro import Micro
from model.training import Trainer
from pipeline.columns import TEST, USER_ID, VALIDATION
from pipeline.config.config import Config
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.errors import InputError
from pipeline.experiments.compare.contestant import OWN, Contestant, Settings
from pipeline.experiments.compare.search import MOST_FURTHER, at_edge, next_choice
from pipeline.progress import Reporter

CHOSEN_BY = "recall@20"
COMPARED = ("recall@20", "ndcg@20")
"""Metrics kept for every user, for paired tests."""


@dataclass(frozen=True)
class SeedData:
    """The dataset as one seed splits it, and the configuration that says so.

    Raises `InputError` where validation, to choose by, or test has no interactions.
    """

    config: Config
    dataset: Dataset
    protocol: EvaluationProtocol

    def __post_init__(self) -> None:
        for part in (VALIDATION, TEST):
            if not len(self.dataset.pairs(part)[0]):
                raise InputError(
                    f"compare chooses settings on validation and measures them on test, but the split has no "
                    f"{part} interactions; raise split.{part}, or use a split that has some"
                )

    @property
    def is_cold(self) -> bool:
        """Whether whole items are held out, so that cold items are what counts."""
        return self.config.split.strategy == "cold-items"


@dataclass(frozen=True)
class Measured:
    """What a contestant came to."""

    settings: Settings
    tried: dict[str, float | None]
    """Validation recall@20 of every choice of settings, which are written as JSON; None where training diverged."""
    metrics: dict[str, dict[str, float] | None]
    """By part, as of `Evaluation`: `validation`, `test`, `cold`, `cold_open`, `new_items` and `paper_protocol`."""
    seconds: float
    """Of the fit with these settings alone."""
    per_user: pl.DataFrame
    """user_id and the compared metrics, on `cold` where whole items are held out, else on `test`."""
    edges: list[str]
    """Of the settings chosen, those that are the highest or lowest of all tried."""


def measure(contestant: Contestant, data: SeedData, reporter: Reporter) -> Measured:
    """Fit with every choice, then with choices beside the best, keep the best on validation, look at test with that.

    Raises `DivergedError` where training diverges with every choice.
    """
    best: _Tried | None = None
    tried: dict[str, float | None] = {}
    for settings in _choices(contestant, tried):
        one = _try(contestant, settings, data, reporter)
        tried[json.dumps(dict(settings))] = None if one is None else one.validation[CHOSEN_BY]
        if one is not None and (best is None or one.validation[CHOSEN_BY] > best.validation[CHOSEN_BY]):
            best = one
        del one  # before the next is fitted: neighbours and EASE hold a matrix of items by items
    if best is None:
        raise DivergedError(f"{contestant.name} diverges with every choice of its settings")
    contest = data.protocol.open_contest(best.scorer)
    edges = at_edge(contestant.steps, best.settings, map(json.loads, tried))
    if edges:
        reporter.say(f"{contestant.name}: the best choice is at the edge of what was tried: {', '.join(edges)}")
    metrics = {
        "validation": best.validation,
        "test": contest.test(),
        "cold": data.protocol.cold(best.scorer) if data.is_cold else None,
        "cold_open": contest.cold(),
        "new_items": contest.new_items(),
        "paper_protocol": data.protocol.paper(best.scorer),
    }
    return Measured(best.settings, tried, metrics, best.seconds, _per_user(best.scorer, data), edges)


def _choices(contestant: Contestant, tried: Mapping[str, float | None]) -> Iterator[Settings]:
    """Those of the contestant, then those that a search for the best adds (`next_choice`); `tried` grows meanwhile."""
    yield from contestant.choices
    for _ in range(MOST_FURTHER):
        measured = {key: value for key, value in tried.items() if value is not None}
        if not measured:
            return
        best = json.loads(max(measured, key=lambda key: measured[key]))
        further = next_choice(contestant.steps, best, map(json.loads, tried))
        if further is None:
            return
        yield further


@dataclass(frozen=True)
class _Tried:
    settings: Settings
    scorer: Scorer
    validation: dict[str, float]
    seconds: float


def _try(contestant: Contestant, settings: Settings, data: SeedData, reporter: Reporter) -> _Tried | None:
    """Fit with these settings; None where that diverges or has no solution."""
    start = time.monotonic()
    try:
        scorer = _fit(contestant, settings, data, reporter)
    except (DivergedError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        reporter.say(f"{contestant.name} with {dict(settings)}: {error}; left out")
        return None
    seconds = time.monotonic() - start
    validation = data.protocol.validation(scorer)
    assert validation is not None, "SeedData has a validation part"
    found = f"validation {CHOSEN_BY} {validation[CHOSEN_BY]:.4f}, fitted in {seconds:.0f} s"
    reporter.say(f"{contestant.name}{f' with {dict(settings)}' if settings else ''}: {found}")
    return _Tried(settings, scorer, validation, seconds)


def _per_user(scorer: Scorer, data: SeedData) -> pl.DataFrame:
    protocol = data.protocol
    user_Q, metrics = protocol.cold_per_user(scorer) if data.is_cold else protocol.test_per_user(scorer)
    users = data.dataset.users[USER_ID].gather(user_Q.numpy())
    return pl.DataFrame({USER_ID: users, **{name: metrics[name].numpy() for name in COMPARED}})


def _fit(contestant: Contestant, settings: Settings, data: SeedData, reporter: Reporter) -> Scorer:
    training = data.dataset.training_data()
    if contestant.fit is not None:
        return contestant.fit(training, seed=data.config.train.seed, **settings)
    config, own = resolved(contestant, settings, data.config)
    held_out = data.protocol.held_out()
    model = partial(contestant.model, **own) if own else contestant.model
    trainer = Trainer(training, held_out, config.model, config.train, model, freed_memory_kept)
    trainer.ranking_loss = with_own_loss(trainer.ranking_loss, trainer.model)
    with reporter.task(contestant.name, config.train.max_epochs) as task:
        for report in trainer.fit():
            metric = "" if report.metric is None else f" recall@20 {report.metric:.4f}"
            task.advance(note=f"loss {report.loss:.4f}{metric}")
    vectors = trainer.best_vectors()
    user_UD, item_ID = vectors.user_UD.cpu(), vectors.item_ID.cpu()
    if not isinstance(trainer.model, Micro):
        return InnerProduct(user_UD, item_ID)
    finished = finish(user_UD, item_ID, training, held_out, config.model, trainer.model.modality_names)
    return InnerProduct(finished.user_UD, finished.item_ID)


def resolved(contestant: Contestant, choice: Settings, config: Config) -> tuple[Config, dict[str, Any]]:
    """The configuration that a trained contestant has with this choice, and the arguments that are its model's own."""
    settings = {**(contestant.settings or {}), **choice}
    own = {key.removeprefix(OWN): value for key, value in settings.items() if key.startswith(OWN)}
    return config.with_values({key: value for key, value in settings.items() if not key.startswith(OWN)}), own
