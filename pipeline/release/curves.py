"""The curves of a training, for the report and for MLflow."""

from collections.abc import Sequence

from model.epoch import EpochReport
from pipeline.release.charts import Series, line_chart

CURVES = ("recall@20", "ndcg@20")


def training_charts(history: Sequence[EpochReport], best_epoch: int | None) -> dict[str, str]:
    """Draw the loss and metric curves; title to SVG, without those that have nothing to show."""
    names = {
        "Training loss": {"loss": "total", "ranking": "ranking"},
        "Contrastive term": {"contrastive": "contrastive"},
        "Validation": {name: name for name in CURVES},
    }
    charts = {}
    for title, columns in names.items():
        series = [Series(label, _points(history, column)) for column, label in columns.items()]
        svg = line_chart(title, _summary(series), series, x_label="epoch", mark=best_epoch or None)
        if svg:
            charts[title] = svg
    return charts


def _points(history: Sequence[EpochReport], name: str) -> list[tuple[float, float]]:
    """Of a part of the loss, or of a metric on the epochs that end in a check."""
    values = [(one.epoch, (one.validation or {}).get(name) if "@" in name else getattr(one, name)) for one in history]
    return [(epoch, float(value)) for epoch, value in values if value is not None]


def _summary(series: Sequence[Series]) -> str:
    """What somebody who cannot see the curve should know of it."""
    parts = [
        f"{line.name} from {line.points[0][1]:.4g} at epoch {line.points[0][0]} to {line.points[-1][1]:.4g} "
        f"at epoch {line.points[-1][0]}"
        for line in series
        if line.points
    ]
    return "; ".join(parts)
