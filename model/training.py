"""The training loop: train an epoch, check, keep the best, yield a report.

Shapes: I items, B batch, P pairs.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Generator, Tensor

from model.adaptation import adaptation_of
from model.config import ModelConfig, TrainConfig
from model.data import HeldOut, TrainingData, resolve_device
from model.divergence import DivergedError, EpochLosses, Means, largest_entries, require_numbers
from model.epoch import VALIDATION_METRIC, EpochReport
from model.evaluation import InnerProduct, Pairs, rank_items, summarise
from model.micro import Vectors
from model.objective import objective
from model.parallel import WHOLE, Columns
from model.ranking import make_ranking_loss
from model.split import Split, split_of
from model.trainable import Model, ModelType

VALIDATION_CUTOFFS = (10, 20)
SEARCH_EVERY = 10
"""Epochs after which approximate graphs are searched anew. Followed, they lose 0.2 to 0.9 % recall an epoch."""

WARM_RATE, LEAST_GAIN = 0.1, 0.01
"""For a training that begins where an earlier one ended: learning rate, relative to the configured one, and the least
relative gain on validation that replaces the start. A smaller gain is noise."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that a resumed training needs, with any number of processes: whole tensors, and plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Trainer(Generic[Model]):
    """Trains one model; deterministic on a CPU for a given seed, data and number of threads."""

    def __init__(
        self,
        data: TrainingData,
        held_out: HeldOut | None,
        model_config: ModelConfig,
        config: TrainConfig,
        model_type: ModelType[Model],
        during_epoch: Callable[[torch.device], AbstractContextManager[object]] = nullcontext,
        columns: Columns = WHOLE,
        found_weights: Mapping[str, float] | None = None,
        *,
        searches_on: bool = False,
    ) -> None:
        """Build model, ranking loss and optimiser.

        Args:
            held_out: None: train `max_epochs` epochs and keep the last.
            model_type: what is trained.
            during_epoch: entered for the steps of an epoch, with the device; `model.allocator.freed_memory_kept` makes
                them faster on a CPU, by settings of the whole process, and `model.memory` predicts for that.
            columns: of every embedding, held by this process; all processes call the same methods in the same order.
            found_weights: what an earlier training came to for weights that are `auto`, by name; they stay.
            searches_on: they do not, but are where the search begins.
        """
        self.config, self.columns, self._during_epoch = config, columns, during_epoch
        self.searches_on = searches_on
        self.batch_size = config.interactions_per_step(len(data.user_T))
        self.device = resolve_device(config.device)
        self.generator = Generator(self.device)
        self.generator.manual_seed(config.seed)
        data = data.to(self.device)
        self.model = model_type(data, model_config, self.generator, columns)
        self.ranking_loss = make_ranking_loss(data, config.objective)
        self._splits = {name: split_of(parameter) for name, parameter in self.model.named_parameters()}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self._seen = Pairs(data.user_T, data.item_T, data.num_users, data.num_items)
        self._held_out = self._prepare_held_out(held_out, data)
        self.adaptation = adaptation_of(
            model_config,
            config.objective,
            found_weights or {},
            searches_on=searches_on,
            can_adapt=self._held_out is not None,
            has_content=bool(self.model.modality_items),
        )
        self.model.content_weight = self.adaptation.weights.content_weight
        self.epoch = 0
        self.best_epoch = 0
        self.best_metric = -math.inf
        self.rate_factor = 1.0
        self._best = copy.deepcopy(self.model.state_dict())

    def _prepare_held_out(self, held_out: HeldOut | None, data: TrainingData) -> tuple[Pairs, Tensor | None] | None:
        if held_out is None or not len(held_out.user_P):
            return None
        user_P, item_P = held_out.user_P.to(self.device), held_out.item_P.to(self.device)
        candidate_I = None if held_out.candidate_I is None else held_out.candidate_I.to(self.device)
        return Pairs(user_P, item_P, data.num_users, data.num_items), candidate_I

    def start_from(self, parameters: dict[str, Tensor], rate_factor: float = WARM_RATE) -> float | None:
        """Begin at these parameters, own columns only, with a new optimiser; return their metric.

        None without held-out interactions. Steps are small, and the parameters stay the best state until one is found
        that is better by `LEAST_GAIN`.
        """
        self.rate_factor = rate_factor
        self.model.load_state_dict(self.model.state_dict() | parameters)
        self.model.refresh_graphs(anew=True)
        self._best = copy.deepcopy(self.model.state_dict())
        validation = self.check()
        if validation is None:
            return None
        metric = validation[VALIDATION_METRIC]
        self.best_metric = (1 + LEAST_GAIN) * metric
        return metric

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or patience has run out and there is nothing more to adapt."""
        return self.epoch >= self.config.max_epochs or (self._stalled and not self.adaptation.goes_on)

    @property
    def _stalled(self) -> bool:
        """Whether patience has run out."""
        if self.adaptation.failed:
            return True
        patience = self.adaptation.patience(self.config.patience)
        last_gain = max(self.best_epoch, self.adaptation.began)
        return self._held_out is not None and (self.epoch - last_gain) // self.config.check_every >= patience

    @property
    def has_validation(self) -> bool:
        """Whether there is anything to choose by."""
        return self._held_out is not None

    @property
    def found_its_weights(self) -> bool:
        """Whether the search for weights has finished."""
        return self.adaptation.searches and self._stalled and not self.adaptation.goes_on

    def _adapt(self) -> None:
        """Go back to the best state, with the next change of a weight."""
        self.model.load_state_dict(self._best)
        self.model.restore_graphs()
        self.optimizer.state.clear()
        self.rate_factor = 1.0  # parameters that a warm start moves by small steps must follow the change
        self.model.content_weight = self.adaptation.change(self.epoch).content_weight

    def fit(self) -> Iterator[EpochReport]:
        """Train from the current state until `finished`, yielding after every epoch.

        Raises `DivergedError` when the loss or the parameters stop being finite. What was yielded before was sound.
        """
        while not self.finished:
            if self._stalled:
                self._adapt()
            start = time.perf_counter()
            rate = self._set_learning_rate()
            try:
                means = self.train_epoch()
            except DivergedError:
                if not self.adaptation.under_way:
                    raise
                self.adaptation.failed = True
                continue
            self.epoch += 1
            # Also before a check: what is evaluated is then a function of the model's state alone, and the
            # vectors exported from a checkpoint are those that were measured.
            self.model.refresh_graphs(anew=self.epoch % SEARCH_EVERY == 0)
            seconds = time.perf_counter() - start
            due = self.epoch % self.config.check_every == 0 or self.epoch == self.config.max_epochs
            validation = self.check() if due else None
            yield EpochReport(
                epoch=self.epoch, loss=means.loss, ranking=means.ranking, contrastive=means.contrastive,
                learning_rate=rate, seconds=seconds, validation=validation, is_best=self._keep_best(validation, due),
            )  # fmt: skip

    def _set_learning_rate(self) -> float:
        decay = self.config.learning_rate_decay ** (self.epoch / self.config.learning_rate_decay_epochs)
        rate = float(self.rate_factor * self.config.learning_rate * decay)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def train_epoch(self) -> Means:
        """Take every step of an epoch; return its mean losses.

        Raises `DivergedError` where it has lost its numbers.
        """
        self.model.train()
        losses, parameters = EpochLosses(self.device), dict(self.model.named_parameters())
        before = largest_entries(parameters, self.columns)
        every_step = self.config.structure_gradient == "step"
        with self._during_epoch(self.device):
            for batch in self.ranking_loss.batches(self.batch_size, self.generator):
                users = self.ranking_loss.users(batch)
                vectors = self.model(users, structure_gradient=every_step or losses.steps == 0)
                terms = objective(
                    vectors,
                    self.model.modality_items,
                    self.ranking_loss,
                    batch,
                    self.config.objective,
                    self.adaptation.weights,
                    self.generator,
                )
                self.optimizer.zero_grad(set_to_none=True)
                terms.total.backward()
                self.optimizer.step()
                losses.add(terms)
        means, after = losses.means(), largest_entries(parameters | self._second_moments(), self.columns)
        require_numbers(self.epoch + 1, means, before, after, self.config.learning_rate)
        return means

    def _second_moments(self) -> dict[str, Tensor]:
        """What Adam divides by; if it overflows, a parameter stops moving without a message."""
        slots = self.optimizer.state
        moments = {name: slots.get(value, {}).get("exp_avg_sq") for name, value in self.model.named_parameters()}
        return {f"Adam's second moment of {name}": value for name, value in moments.items() if value is not None}

    def _keep_best(self, validation: dict[str, float] | None, due: bool) -> bool:
        metric = float(self.epoch) if self._held_out is None else (validation or {}).get(VALIDATION_METRIC, -math.inf)
        num_users = 0 if validation is None else int(validation["users"])
        if not due or metric <= self.adaptation.needed(self.best_metric, num_users):
            return False
        self.adaptation.gain()
        self.best_metric, self.best_epoch = metric, self.epoch
        self._best = copy.deepcopy(self.model.state_dict())
        return True

    @torch.no_grad()
    def check(self) -> dict[str, float] | None:
        """Metrics of the current parameters on validation; None without held-out interactions."""
        if self._held_out is None:
            return None
        relevant, candidate_I = self._held_out
        vectors = self.vectors()
        ranking = rank_items(
            InnerProduct(vectors.user_UD, vectors.item_ID, self.columns),
            relevant.users(),
            [self._seen],
            max(VALIDATION_CUTOFFS),
            candidate_I,
        )
        num_candidates = len(vectors.item_ID) if candidate_I is None else int(candidate_I.sum())
        # The first process decides for all when to stop.
        return self.columns.first(lambda: summarise(ranking, relevant, VALIDATION_CUTOFFS, num_candidates))

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """Vectors of the current parameters, own columns only."""
        self.model.eval()
        return self.model()

    def best_vectors(self) -> Vectors:
        """Load the best parameters into the model and return their vectors, own columns only."""
        self.model.load_state_dict(self._best)
        self.model.restore_graphs()
        self.model.content_weight = self.adaptation.best.content_weight
        return self.vectors()

    def best_parameters(self) -> dict[str, Tensor]:
        """Parameters of the best check, on the CPU; whole on the first process."""
        return {name: self.columns.gather(self._best[name], split) for name, split in self._splits.items()}

    def whole_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape that every parameter has over all processes."""
        return {name: self.columns.whole_shape(own, self._splits[name]) for name, own in self.model.named_parameters()}

    def own_columns(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Own part of whole parameters."""
        return {name: self.columns.own(value, self._splits[name]) for name, value in parameters.items()}

    def state(self) -> TrainingState:
        """Snapshot at the end of an epoch: parameters, best parameters, optimiser, generator, counters.

        On the CPU, whole on the first process; with one process its tensors go on changing as training does.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors["generator"] = self.generator.get_state()
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        best = None if math.isinf(self.best_metric) else self.best_metric
        values = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_metric": best,
            "adaptation": self.adaptation.state(),
            "rate_factor": self.rate_factor,
        }
        whole = {name: self.columns.gather(value, self._split_in_state(name)) for name, value in tensors.items()}
        return TrainingState(whole, values)

    def _split_in_state(self, name: str) -> Split | None:
        part, _, rest = name.partition(".")
        if part != "optimizer":
            return self._splits.get(rest)
        index, _, slot = rest.partition(".")
        return None if slot == "step" else list(self._splits.values())[int(index)]

    def load_state(self, state: TrainingState | None) -> None:
        """Continue from a snapshot made with the same data and configuration; only the first process needs it."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "generator": {}}
        tensors = self.columns.scatter(None if state is None else state.tensors, self._split_in_state)
        counters = self.columns.first(lambda: {} if state is None else state.values)
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        if "adaptation" in counters:  # earlier versions had none
            self.adaptation.load_state(counters["adaptation"])
        self.model.content_weight = self.adaptation.weights.content_weight
        self.model.load_state_dict(parts["model"])
        self.model.restore_graphs()
        self._best = {name: value.to(self.device) for name, value in parts["best"].items()}
        self.generator.set_state(parts["generator"][""])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        self.epoch, self.best_epoch = counters["epoch"], counters["best_epoch"]
        self.rate_factor = counters.get("rate_factor", 1.0)  # earlier versions knew no other
        best = counters["best_metric"]
        self.best_metric = -math.inf if best is None else best
