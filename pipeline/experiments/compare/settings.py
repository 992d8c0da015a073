"""Settings of trained rows: the authors', and for each ranking loss its own, with choices that a search begins with."""

from collections.abc import Mapping

from pipeline.experiments.compare.contestant import Settings

L2 = "train.objective.l2"

PAPER: Settings = {
    "model.backbone": "lightgcn",
    "model.normalisation": "row",
    "model.embedding_dim": 64,
    "model.neighbours": 10,
    "model.initial_graph_weight": 0.9,
    "model.content_weight": 1.0,
    "model.taste_weight": 0.0,
    "model.absent": "mean",
    "model.fusion": "attention",
    "model.item_graph_layers": 1,
    "model.backbone_layers": 2,
    "model.new_items": "graphs",
    "train.max_epochs": 1000,
    "train.batch_size": 1024,
    "train.learning_rate": 5e-4,
    "train.learning_rate_decay": 0.96,
    "train.learning_rate_decay_epochs": 50,
    "train.structure_gradient": "epoch",
    "train.check_every": 5,
    "train.patience": 10,
    "train.warm_start": "none",
    "train.objective.ranking": "bpr",
    "train.objective.l2": 1e-5,
    "train.objective.l2_exponent": 1.0,
    "train.objective.contrastive_weight": 0.03,
    "train.objective.temperature": 0.5,
    "train.objective.contrastive": "exact",
}
"""The authors' settings (arXiv:2111.00678); `configs/paper.toml` holds the same."""

# A ranking loss has settings of its own: those of a configuration are chosen for the loss that it names. Choices of L2,
# whose best is narrow and moves with the density of the data, are only where the search for it begins.
BPR: Settings = {
    "model.content_weight": 1.0,
    "train.batch_size": "auto",
    "train.learning_rate": 1e-2,
    "train.objective.ranking": "bpr",
    "train.objective.l2_exponent": 1.0,
    "train.objective.contrastive_weight": 0.03,
    "train.check_every": 5,
    "train.patience": 5,
}
BPR_CHOICES: tuple[Settings, ...] = tuple({L2: l2} for l2 in (1e-3, 1e-2, 0.1))
SOFTMAX: Settings = {
    "model.content_weight": 1.0,
    "train.batch_size": "auto",
    "train.learning_rate": 5e-3,
    "train.objective.ranking": "softmax",
    "train.objective.contrastive_weight": 0.03,
}
SOFTMAX_CHOICES: tuple[Settings, ...] = tuple(
    {L2: l2, "train.objective.l2_exponent": exponent}
    for l2, exponent in ((0.1, 1.0), (0.4, 1.0), (0.5, 0.5), (1.0, 0.5), (2.0, 0.5))
)
SQUARES: Settings = {
    "model.content_weight": 0.4,
    "train.batch_size": "auto",
    "train.learning_rate": 1e-2,
    "train.objective.ranking": "squares",
    "train.objective.unobserved_weight": 10.0,
    "train.objective.l2_exponent": 0.5,
    "train.objective.contrastive_weight": 0.003,
}
SQUARES_CHOICES: tuple[Settings, ...] = tuple({L2: l2} for l2 in (1.2, 2.3, 4.0))
L2_STEP: Mapping[str, float] = {L2: 1.4}
"""Squares and softmax want it within a fifth."""
BPR_STEP: Mapping[str, float] = {L2: 2.0}
