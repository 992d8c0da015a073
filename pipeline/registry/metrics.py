"""Numbers as MLflow takes them: their names, and the steps and times of a training's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.epoch import EpochReport

EPOCH_NUMBERS = ("loss", "ranking", "contrastive", "learning_rate", "seconds")
_FORBIDDEN = re.compile(r"[^0-9A-Za-z_\-. /]")


@dataclass(frozen=True)
class Metric:
    """One value of one metric; `seconds` counts from the start of the run."""

    name: str
    value: float
    step: int = 0
    seconds: float = 0.0


def mlflow_name(text: str) -> str:
    """Spell `text` with the characters MLflow allows in names: `test/recall@20` becomes `test/recall_at_20`."""
    return _FORBIDDEN.sub("_", text.replace("@", "_at_"))


def epoch_metrics(history: Sequence[EpochReport]) -> list[Metric]:
    """Every number of every epoch: `train/loss`, and `validation/recall@20` on epochs that end in a check."""
    metrics, elapsed = [], 0.0
    for report in history:
        elapsed += report.seconds
        values = {f"train/{name}": getattr(report, name) for name in EPOCH_NUMBERS}
        values |= {f"validation/{name}": value for name, value in (report.validation or {}).items()}
        metrics += [Metric(name, float(value), report.epoch, elapsed) for name, value in values.items()]
    return metrics
