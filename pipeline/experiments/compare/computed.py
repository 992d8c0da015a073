"""Baselines that are computed: chance, popularity, neighbours, taste, EASE, and implicit's ALS and BPR."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

from model.baselines.chance import chance
from model.baselines.ease import ease
from model.baselines.neighbours import content_knn, item_knn, whitened_knn
from model.baselines.popularity import popularity
from model.baselines.taste import content_taste
from model.data import TrainingData
from model.evaluation import InnerProduct, Scorer
from pipeline.experiments.compare.contestant import FACTORS, LOOKED_UP, NEIGHBOURS, SOLVED, Contestant, Settings
from pipeline.experiments.compare.cost import ease_cost, neighbours_cost, taste_cost
from pipeline.experiments.compare.implicit_models import als, bpr

SHARE = "share_"
CENTRED: Settings = {"power": 0.0, "dimensions": None}
WHITENED: tuple[Settings, ...] = tuple({"power": power, "dimensions": 128} for power in (0.25, 0.5))


def computed(modalities: list[str], embedding_dim: int) -> list[Contestant]:
    """In the order of the table."""
    return [
        Contestant(name="chance", group="baseline", fit=chance, effort=LOOKED_UP),
        Contestant(name="popularity", group="baseline", fit=_without_seed(popularity), effort=LOOKED_UP),
        _neighbours(
            "item-knn",
            _without_seed(item_knn),
            _all_of(_counts(50, 200, 1000), [{"shrinkage": weight} for weight in (0.0, 10.0, 100.0)]),
            {"shrinkage": 3.0},
        ),
        *(
            _neighbours(f"content-knn-{name}", _without_seed(content_knn, modality=name), _counts(5, 20, 100, 500))
            for name in modalities
        ),
        *_by_content(modalities),
        Contestant(
            name="ease",
            group="baseline",
            fit=_without_seed(ease),
            choices=tuple({"l2": l2} for l2 in (50.0, 200.0, 800.0)),
            steps={"l2": 2.0},
            effort=SOLVED,
            cost=ease_cost,
        ),
        *_factors(embedding_dim),
    ]


def _neighbours(
    name: str, fit: Callable[..., Scorer], choices: tuple[Settings, ...], steps: Mapping[str, float] | None = None
) -> Contestant:
    return Contestant(
        name=name,
        group="baseline",
        fit=fit,
        choices=choices,
        steps={"num_neighbours": 2.0, **(steps or {})},
        effort=NEIGHBOURS,
        cost=neighbours_cost,
    )


def _counts(*counts: int) -> tuple[Settings, ...]:
    return tuple({"num_neighbours": count} for count in counts)


def _by_content(modalities: list[str]) -> list[Contestant]:
    """Whitened neighbours and taste, of each modality and of all joined; plain neighbours of all joined."""
    alone = [(name, ({f"{SHARE}{name}": 1.0},)) for name in modalities]
    joined = [("joined", _shares(modalities))] if len(modalities) > 1 else []
    rows = []
    for name, shares in [*alone, *joined]:
        # Only proportions count: the first modality's share stays.
        share_steps = {f"{SHARE}{other}": 2.0 for other in modalities[1:]} if name == "joined" else {}
        if name == "joined":
            rows.append(
                _neighbours("content-knn-joined", _joined(whitened_knn), _all_of(shares, _counts(20, 100)), share_steps)
            )
        rows.append(
            _neighbours(
                f"content-knn-whitened-{name}",
                _joined(whitened_knn),
                _all_of(shares, WHITENED, _counts(20, 100)),
                {"dimensions": 2.0, **share_steps},
            )
        )
        rows.append(
            Contestant(
                name=f"content-taste-{name}",
                group="baseline",
                fit=_joined(content_taste),
                choices=_all_of(shares, [CENTRED, *WHITENED]),
                steps={"dimensions": 2.0, **share_steps},
                is_embedding=True,
                effort=NEIGHBOURS,
                cost=taste_cost,
            )
        )
    return rows


def _shares(modalities: list[str]) -> tuple[Settings, ...]:
    """All alike, and each three times as much as the others."""
    leading = [{name: 3.0 if name == leader else 1.0 for name in modalities} for leader in ["", *modalities]]
    first = modalities[0]
    return tuple({f"{SHARE}{name}": share / one[first] for name, share in one.items()} for one in leading)


def _all_of(*parts: Iterable[Settings]) -> tuple[Settings, ...]:
    return tuple({key: value for part in one for key, value in part.items()} for one in product(*parts))


def _joined(fit: Callable[..., Scorer]) -> Callable[..., Scorer]:
    """Take the modalities' shares as settings of their own, so that each can be searched."""

    def fitted(data: TrainingData, seed: int, **settings: Any) -> Scorer:
        shares = {key.removeprefix(SHARE): value for key, value in settings.items() if key.startswith(SHARE)}
        rest = {key: value for key, value in settings.items() if not key.startswith(SHARE)}
        return fit(data, shares=shares, **rest)

    return fitted


def _factors(embedding_dim: int) -> list[Contestant]:
    return [
        Contestant(
            name="als",
            group="baseline",
            fit=_als,
            is_embedding=True,
            choices=tuple(
                {"factors": embedding_dim, "alpha": alpha, "ratio": ratio}
                for alpha, ratio in product((10.0, 40.0, 160.0), (1.0, 2.0, 4.0, 8.0))
            ),
            steps={"ratio": 1.5, "alpha": 2.0},
            effort=FACTORS,
        ),
        Contestant(
            name="bpr",
            group="baseline",
            fit=bpr,
            is_embedding=True,
            choices=tuple(
                {"factors": embedding_dim, "learning_rate": rate, "regularization": weight, "iterations": iterations}
                for rate, weight, iterations in product((0.003, 0.01), (0.003, 0.01), (100, 300))
            ),
            steps={"regularization": 3.0, "learning_rate": 3.0, "iterations": 3.0},
        ),
    ]


def _als(data: TrainingData, seed: int, *, factors: int, alpha: float, ratio: float) -> InnerProduct:
    """Regularisation in proportion to the confidence: the best moves with it, in about this proportion."""
    return als(data, seed, factors=factors, alpha=alpha, regularization=alpha * ratio)


def _without_seed(fit: Callable[..., Scorer], **fixed: Any) -> Callable[..., Scorer]:
    def fitted(data: TrainingData, seed: int, **settings: Any) -> Scorer:
        return fit(data, **fixed, **settings)

    return fitted
