"""The model card of a release: Markdown made of its manifest and its verdict, shown on MLflow's pages.

The headings are those that Mitchell et al. ask for (Model Cards for Model Reporting, arXiv:1810.03993) as far as a
pipeline can fill them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.dataset.records import Metrics
from pipeline.release.headline import headline
from pipeline.release.manifest import Manifest
from pipeline.release.space import DriftRow
from pipeline.release.verdict import Verdict

SHOWN = ("recall@20", "ndcg@20", "hit@20", "coverage@20")
"""As many columns as MLflow's page has room for; the report has all."""
LONGEST_CARD = 5000
"""Characters that MLflow's database keeps of a version's description."""
CUT = "\n\n*(cut here: MLflow keeps no longer descriptions; the report has all)*"


def model_card(manifest: Manifest, verdict: Verdict | None) -> str:
    """What the release is, how good it is, what it was made from, and how it is used, in at most 5,000 characters."""
    parts = [
        _details(manifest),
        _verdict(verdict),
        _quality(manifest),
        _data(manifest),
        _drift(manifest.drift),
        _use(manifest),
    ]
    card = "\n\n".join(part for part in parts if part)
    return card if len(card) <= LONGEST_CARD else card[: LONGEST_CARD - len(CUT)] + CUT


def _details(manifest: Manifest) -> str:
    counts, training = manifest.counts, manifest.training
    model = manifest.config.get("model", {})
    lines = [
        f"# Release {manifest.run_id}",
        f"Vectors of {manifest.embedding_dim} numbers for {counts.get('items', 0):,} items and "
        f"{counts.get('users', 0):,} users. The inner product of a user's and an item's vector is the score.",
    ]
    if training:
        lines.append(
            f"MICRO on {model.get('backbone', 'an unknown backbone')}, "
            f"with {_listed(training.modalities, 'no content')}; "
            f"best epoch {training.best_epoch} of {training.epochs}."
        )
    made = f", made by microrec {manifest.microrec_version}" if manifest.microrec_version else ""
    return "\n\n".join([*lines, f"Digest `{manifest.release_digest}`{made}."])


def _listed(names: Sequence[str], none: str) -> str:
    return " and ".join(names) or none


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    rows = [(row.name, row.verdict, row.shown_figure, row.shown_interval, row.shown_limit) for row in verdict.rows]
    return f"## Gate\n\n{verdict.headline[:1].upper()}{verdict.headline[1:]}." + _table(
        ("check", "verdict", "figure", "interval", "limit"), rows
    )


def _quality(manifest: Manifest) -> str:
    metrics = manifest.metrics
    held_out, part = (metrics.test, "test") if metrics.test else (metrics.validation, "validation")
    if not held_out:
        return "## Quality\n\nNothing was held out, so nothing was measured."
    others: dict[str, Metrics | None] = {
        f"the model, {part}": held_out,
        "popularity": metrics.popularity if metrics.test else None,
        **{f"{name} alone, untrained": yardstick.test for name, yardstick in metrics.yardsticks.items()},
        "the model, new items among themselves": metrics.cold,
        "the model, new items among all": metrics.cold_open,
    }
    shown = {name: row for name, row in others.items() if row}
    columns = [name for name in SHOWN if any(name in row for row in shown.values())]
    rows = [
        (name, *(f"{row[metric]:.4f}" if metric in row else "" for metric in columns)) for name, row in shown.items()
    ]
    told = headline(metrics, str(manifest.config.get("split", {}).get("strategy", "random")))
    words = " ".join(filter(None, (told.sentence, told.beside_champion, told.note)))
    return f"## Quality\n\n{words}" + _table(("", *columns), rows)


def _data(manifest: Manifest) -> str:
    counts, found = manifest.counts, manifest.input
    lines = [f"{counts['interactions']:,} interactions after cleaning" if "interactions" in counts else ""]
    if found:
        lines += [
            f"interactions until {found.last_timestamp}" if found.last_timestamp is not None else "",
            f"{found.dropped:.1%} of the rows dropped".replace("%", " %") if found.dropped is not None else "",
            *(f"{name}: {usable:,} items with usable content" for name, usable in found.usable.items()),
        ]
    encoders = [f"{name}: encoder {record.key}, {record.dim} numbers" for name, record in manifest.encoders.items()]
    return "## Data\n\n" + "\n".join(f"- {line}" for line in (*lines, *encoders) if line)


def _drift(drift: dict[str, DriftRow]) -> str:
    told = [f"{name}: {_moved(row)}" for name, row in drift.items() if row.cosine_median is not None]
    return "## Since the champion\n\n" + "\n".join(f"- {line}" for line in told) if told else ""


def _moved(row: DriftRow) -> str:
    kept = [
        f"{share:.0%} of the {what} kept".replace("%", " %")
        for what, share in (("neighbours", row.neighbours_kept), ("recommendations", row.recommendations_kept))
        if share is not None
    ]
    return ", ".join([f"median cosine {row.cosine_median:.2f}", *kept])


def _use(manifest: Manifest) -> str:
    model_name = manifest.config.get("mlflow", {}).get("model_name", "microrec")
    return (
        "## Use\n\n```python\n"
        f'model = mlflow.pyfunc.load_model("models:/{model_name}@champion")\n'
        'model.predict({"user_id": [...]}, params={"k": 20})\n```\n\n'
        "Also `history`, `candidates`, `exclude`, and the modes `similar` and `score`. "
        "Scores of one release are comparable among items, not among releases."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n\n" + "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines])
