"""The model that MLflow serves: recommend, similar and score, by exact inner product over a release's vectors.

MLflow copies this one file into the model and runs it wherever the model is loaded (models from code), so it needs
numpy, pandas, pyarrow and MLflow, and never the rest of this program. The files that it reads are written by
`pipeline.release.served` and mapped into memory, so that workers on one machine share them (docs/reference/serving.md).

Shapes: I items, D dimension, B users of a block, N items of a block, G groups of items, S items of one answer.
"""

import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel

IDS, LISTS = ("user_id", "item_id"), ("history", "candidates", "exclude")
COLUMNS = ("user_id", "history", "item_id", "candidates", "exclude")
DEFAULTS: dict[str, Any] = {"mode": "recommend", "k": 20, "exclude_seen": True, "unknown": "popular"}
CHOICES = {"mode": ("recommend", "similar", "score"), "unknown": ("popular", "empty", "error")}
USERS_AT_ONCE, BLOCKS_AT_ONCE, ITEMS_AT_ONCE, GROUP = 256, 2, 8192, 32
ROUNDING = 2e-5
"""Largest error of a float32 score, relative to the lengths of its two vectors."""
NONE = np.empty(0, np.int64)


class WrongQuestion(MlflowException):
    """A refusal of one line; MLflow's server would put the whole batch before it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """What is wrong."""
        return str(self.__dict__["text"])

    @message.setter
    def message(self, text: str) -> None:
        self.__dict__.setdefault("text", text)


@dataclass(frozen=True)
class Question:
    """One row asked: ids as given, and as rows of the release (-1: not there)."""

    user_id: Any
    user: int
    item_id: Any
    item: int
    history: np.ndarray
    candidates: np.ndarray | None
    exclude: np.ndarray


@dataclass(frozen=True)
class Answer:
    """Rows of items, best first, their scores (float32), and what these rest on."""

    rows: np.ndarray
    scores: np.ndarray
    source: str


NOTHING = Answer(NONE, np.empty(0, np.float32), "empty")


# What was asked


def as_asked(model_input: Any, params: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """What the caller of `PyFuncModel.predict` gave, read in its frame.

    MLflow drops columns and parameters that the signature does not name, with a line in its log: too late for who
    misspelled one.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "predict" and isinstance(frame.f_locals.get("self"), PyFuncModel):
            return frame.f_locals.get("data", model_input), frame.f_locals.get("params", params) or {}
        frame = frame.f_back
    return model_input, params or {}


def require_known(kind: str, given: Iterable[Any], known: Sequence[str]) -> None:
    """Refuse names that mean nothing here."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise WrongQuestion(f"there is no {kind} {name!r}; {hint}Known are {', '.join(known)}")


def check_params(params: dict[str, Any]) -> dict[str, Any]:
    """All parameters, with their defaults, or a refusal."""
    require_known("parameter", params, list(DEFAULTS))
    asked = {name: default if params.get(name) is None else params[name] for name, default in DEFAULTS.items()}
    for name, choices in CHOICES.items():
        if asked[name] not in choices:
            raise WrongQuestion(f"{name} is {asked[name]!r}; it is one of {', '.join(choices)}")
    if isinstance(asked["k"], bool) or not isinstance(asked["k"], int | np.integer) or asked["k"] < 1:
        raise WrongQuestion(f"k is {asked['k']!r}; it is the number of items per question, at least 1")
    if not isinstance(asked["exclude_seen"], bool | np.bool_):
        raise WrongQuestion(f"exclude_seen is {asked['exclude_seen']!r}; it is true or false")
    return asked


def names_in(data: Any) -> list[Any]:
    """Names of the columns of what a caller gave."""
    if isinstance(data, pd.DataFrame | dict):
        return list(data)
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return list(dict.fromkeys(name for row in data for name in row))
    if isinstance(data, pd.Series):
        return [data.name]
    raise WrongQuestion(f"columns need names, as in {{'user_id': [...]}}; known are {', '.join(COLUMNS)}")


def as_columns(data: Any) -> dict[str, list[Any]]:
    """Cells by column, a list for each known column that is there.

    MLflow makes one row of a dictionary of lists of texts, whose ids are lists then: it is unfolded.
    """
    if isinstance(data, dict) and not any(isinstance(cell, list | np.ndarray) for cell in data.values()):
        data = [data]
    try:
        frame = pd.DataFrame({name: list(cells) for name, cells in data.items()} if isinstance(data, dict) else data)
    except (TypeError, ValueError) as error:
        raise WrongQuestion(f"the columns do not fit together: {error}") from None
    columns = {name: frame[name].tolist() for name in COLUMNS if name in frame}
    if len(frame) == 1 and any(isinstance(columns[name][0], list | np.ndarray) for name in IDS if name in columns):
        columns = {name: list(cells[0]) for name, cells in columns.items()}
        num_rows = max(len(columns[name]) for name in IDS if name in columns)
        for name in LISTS:
            if num_rows == 1 and name in columns and not any(isinstance(cell, list) for cell in columns[name]):
                columns[name] = [columns[name]]
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise WrongQuestion(f"the columns are of different lengths: {lengths}")
    if not columns and len(frame):
        raise WrongQuestion(f"a question needs one of the columns {', '.join(COLUMNS)}")
    return columns


def as_id(cell: Any, integer: bool) -> Any:
    """An id as plain Python, None for a missing one; pandas makes floats of whole numbers beside missing ones."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell)):
        return None
    return int(cell) if integer and isinstance(cell, float) and cell.is_integer() else cell


def as_list(cell: Any, name: str, row: int) -> list[Any] | None:
    """A list of ids, None for a missing one."""
    if isinstance(cell, list | tuple | set | np.ndarray):
        return list(cell)
    if as_id(cell, False) is None:
        return None
    raise WrongQuestion(f"{name} of request {row} is {cell!r}; it is a list of item ids")


class Ids:
    """Sorted ids in a mapped Arrow file; looked up by bisection, so that nothing is built in memory."""

    def __init__(self, file: Path) -> None:
        self.array: Any = pa.ipc.open_file(pa.memory_map(str(file))).read_all().column(0).chunk(0)
        self.integer = pa.types.is_integer(self.array.type)

    def rows(self, wanted: Sequence[Any]) -> np.ndarray:
        """Row of each id, int64, -1 where there is none; an id of another type is none."""
        found = np.full(len(wanted), -1)
        size = len(self.array)
        asked = [place for place, one in enumerate(wanted) if self._may_be(one)]
        if not asked or not size:
            return found
        values = pa.array([wanted[place] for place in asked], pa.int64() if self.integer else self.array.type)
        low, high = np.zeros(len(asked), np.int64), np.full(len(asked), size)
        while (low < high).any():
            middle = np.minimum((low + high) // 2, size - 1)
            below = pc.less(self.array.take(pa.array(middle)), values).to_numpy(zero_copy_only=False)
            open_ = low < high
            low, high = np.where(open_ & below, middle + 1, low), np.where(open_ & ~below, middle, high)
        place = np.minimum(low, size - 1)
        hit = (low < size) & pc.equal(self.array.take(pa.array(place)), values).to_numpy(zero_copy_only=False)
        found[np.array(asked)[hit]] = place[hit]
        return found

    def _may_be(self, one: Any) -> bool:
        return type(one) is int and abs(one) < 2**63 if self.integer else isinstance(one, str)

    def take(self, rows: np.ndarray) -> list[Any]:
        """Ids of rows; None for -1."""
        return list(self.array.take(pa.array(rows, mask=rows < 0)).to_pylist())


# Ranking


def best_of(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best, best first; among equals the earlier row."""
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def is_in(rows: np.ndarray, sorted_rows: np.ndarray) -> np.ndarray:
    """Which rows stand among sorted ones, by bisection."""
    if not len(sorted_rows):
        return np.zeros(len(rows), bool)
    place = np.minimum(np.searchsorted(sorted_rows, rows), len(sorted_rows) - 1)
    return np.asarray(sorted_rows[place] == rows)


def exact_scores(item_SD: np.ndarray, user_D: np.ndarray) -> np.ndarray:
    """Inner products summed in float64, each by itself, so that an answer does not depend on what else is asked."""
    score_S = np.einsum("sd,d->s", item_SD.astype(np.float64), user_D.astype(np.float64))
    return np.asarray(score_S, np.float32)


def group_maxima(user_BD: np.ndarray, item_ID: np.ndarray, masked: Sequence[np.ndarray], scale_I: Any) -> np.ndarray:
    """Largest score in each group of items, float32 (B, G); masked items count as -inf. No more than a block is held.

    Items on the left, so that a maximum runs over contiguous users.
    """
    num_users, num_items = len(user_BD), len(item_ID)
    user_DB = np.ascontiguousarray(user_BD.T)
    item_M = np.concatenate([*masked, NONE]).astype(np.int64)
    user_M = np.repeat(np.arange(num_users), [len(rows) for rows in masked])
    order = np.argsort(item_M, kind="stable")
    item_M, user_M = item_M[order], user_M[order]
    maxima = np.empty((-(-num_items // GROUP), num_users), np.float32)
    block = np.empty((ITEMS_AT_ONCE, num_users), np.float32)
    for start in range(0, num_items, ITEMS_AT_ONCE):
        end = min(start + ITEMS_AT_ONCE, num_items)
        size, padded = end - start, -(-(end - start) // GROUP) * GROUP
        np.matmul(item_ID[start:end], user_DB, out=block[:size])
        if scale_I is not None:
            block[:size] *= scale_I[start:end, None]
        low, high = np.searchsorted(item_M, (start, end))
        block[item_M[low:high] - start, user_M[low:high]] = -np.inf
        block[size:padded] = -np.inf
        first = start // GROUP
        np.max(block[:padded].reshape(-1, GROUP, num_users), axis=1, out=maxima[first : first + padded // GROUP])
    return np.ascontiguousarray(maxima.T)


def rank_all(
    user_BD: np.ndarray, item_ID: np.ndarray, k: int, masked: Sequence[np.ndarray], scale_I: Any, longest: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and scores of the k best items of each user, of all but the masked ones.

    The k-th largest maximum of a group bounds the k-th best score from below, so only groups that come near it are
    looked into. Their scores are computed anew, exactly.
    """
    maxima_BG = group_maxima(user_BD, item_ID, masked, scale_I)
    groups, inside = maxima_BG.shape[1], np.arange(GROUP)
    bound_B = (
        np.partition(maxima_BG, groups - k, axis=1)[:, groups - k] if k < groups else np.full(len(user_BD), -np.inf)
    )
    slack_B = ROUNDING * longest * np.linalg.norm(user_BD, axis=1)
    found = []
    for user_D, maxima_G, bound, mask in zip(user_BD, maxima_BG, bound_B - slack_B, masked, strict=True):
        near = np.flatnonzero((maxima_G >= bound) & (maxima_G > -np.inf))
        rows = (near[:, None] * GROUP + inside).ravel()
        rows = rows[rows < len(item_ID)]
        rough = item_ID[rows] @ user_D
        if scale_I is not None:
            rough *= scale_I[rows]
        rows = rows[rough >= bound]
        rows = rows[~is_in(rows, mask)]
        scores = exact_scores(item_ID[rows], user_D)
        found.append(best_of(rows, scores if scale_I is None else scores * scale_I[rows], k))
    return found


# Answers


class Ranker(PythonModel):
    """Answers every question; columns, parameters and answers stand in docs/reference/serving.md."""

    user_UD: np.ndarray
    item_ID: np.ndarray
    item_scale_I: np.ndarray
    """1 / length."""
    seen_start_U: np.ndarray
    """Where a user's rows in `seen_item_P` begin; (U + 1,)."""
    seen_item_P: np.ndarray
    popularity_I: np.ndarray
    popular_item_I: np.ndarray
    fold_in_DD: np.ndarray

    def load_context(self, context: Any) -> None:
        """Map the files that came with the model."""
        folder = Path(context.artifacts["release"])
        self.users, self.items = Ids(folder / "user_ids.arrow"), Ids(folder / "item_ids.arrow")
        for name in Ranker.__annotations__:
            setattr(self, name, np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")))
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.fold_in_scale, self.longest = about["fold_in_scale"], about["longest_item"]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A table of answers, each question's in the order asked.

        Raises `WrongQuestion`, a refusal of one line, for what is not known or makes no sense.
        """
        data, given = as_asked(model_input, params)
        require_known("column", names_in(data), COLUMNS)
        require_known("parameter", given, list(DEFAULTS))
        return self.answered(model_input, params)

    def answered(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The same without MLflow: what is given here is what was asked.

        Raises `WrongQuestion` as `predict` does.
        """
        require_known("column", names_in(data), COLUMNS)
        asked = check_params(params or {})
        columns = as_columns(data)
        needed = IDS[1:] if asked["mode"] != "recommend" else ("user_id", "history")
        if columns and not any(name in columns for name in needed):
            raise WrongQuestion(f"mode {asked['mode']} needs the column {' or '.join(needed)}")
        questions = self._questions(columns)
        answer = {"recommend": self._recommend, "similar": self._similar, "score": self._score}[asked["mode"]]
        return self._table(questions, answer(questions, asked), similar=asked["mode"] == "similar")

    def _questions(self, columns: dict[str, list[Any]]) -> list[Question]:
        num_rows = len(next(iter(columns.values()), []))
        ids, rows = {}, {}
        for name, known in zip(IDS, (self.users, self.items), strict=True):
            ids[name] = [as_id(cell, known.integer) for cell in columns.get(name, [None] * num_rows)]
            rows[name] = known.rows(ids[name]).tolist()
        lists = {name: self._lists(columns.get(name, [None] * num_rows), name) for name in LISTS}
        return [
            Question(user_id, user, item_id, item, NONE if history is None else history, candidates,
                     NONE if exclude is None else exclude)
            for user_id, user, item_id, item, history, candidates, exclude in zip(
                ids["user_id"], rows["user_id"], ids["item_id"], rows["item_id"],
                lists["history"], lists["candidates"], lists["exclude"], strict=True,
            )
        ]  # fmt: skip

    def _lists(self, cells: list[Any], name: str) -> list[np.ndarray | None]:
        """Rows of the items in each list, each once; those that are not in the release are passed over."""
        lists = [as_list(cell, name, row) for row, cell in enumerate(cells)]
        ids = [as_id(one, self.items.integer) for cell in lists for one in cell or ()]
        ends = np.cumsum([len(cell or ()) for cell in lists])
        parts = np.split(self.items.rows(ids), ends[:-1]) if lists else []
        return [None if cell is None else np.unique(part[part >= 0]) for cell, part in zip(lists, parts, strict=True)]

    def _seen(self, user: int) -> np.ndarray:
        if user < 0:
            return NONE
        return self.seen_item_P[self.seen_start_U[user] : self.seen_start_U[user + 1]]

    def _masked(self, question: Question, exclude_seen: bool, *more: int) -> np.ndarray:
        """Rows of items that may not be in the answer."""
        own = (self._seen(question.user), question.history) if exclude_seen else ()
        return np.unique(np.concatenate([question.exclude, np.array(more, np.int64), *own]))

    def _fold_in(self, rows: np.ndarray) -> np.ndarray:
        """Vector of a user with these items: ridge regression of 1 on theirs, of 0 on all items'."""
        item_SD = self.item_ID[rows].astype(np.float64)
        folded_D = np.linalg.solve(self.fold_in_DD + item_SD.T @ item_SD, item_SD.sum(0))
        return np.asarray(self.fold_in_scale * folded_D)

    def _vectors(self, questions: list[Question], asked: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
        """Float32 (B, D), and what each rests on: `user`, `history`, or nothing that is known.

        A user of the release with a history moves by what the history adds to the items that the release has.
        """
        user_BD = self.user_UD[np.array([max(one.user, 0) for one in questions], np.int64)]
        sources = ["user" if one.user >= 0 else "" for one in questions]
        for place, one in enumerate(questions):
            if len(one.history):
                seen = self._seen(one.user)
                moved_D = self._fold_in(np.union1d(seen, one.history)) - self._fold_in(seen)
                user_BD[place] = (user_BD[place] if one.user >= 0 else 0) + moved_D
                sources[place] = "history"
            elif one.user < 0 and asked["unknown"] == "error":
                raise WrongQuestion(
                    f"request {place}: user_id {one.user_id!r} is not in the release, nor is any item of its history"
                )
        return user_BD, sources

    def _recommend(self, questions: list[Question], asked: dict[str, Any]) -> list[Answer]:
        user_BD, sources = self._vectors(questions, asked)
        masked = [self._masked(one, asked["exclude_seen"]) for one in questions]
        return self._ranked(questions, user_BD, sources, masked, asked, None)

    def _similar(self, questions: list[Question], asked: dict[str, Any]) -> list[Answer]:
        """By cosine, the item itself left out."""
        for place, one in enumerate(questions):
            if one.item < 0 and asked["unknown"] == "error":
                raise WrongQuestion(f"request {place}: item_id {one.item_id!r} is not in the release")
        rows = np.array([max(one.item, 0) for one in questions], np.int64)
        vector_BD = self.item_ID[rows] * self.item_scale_I[rows, None]
        masked = [self._masked(one, asked["exclude_seen"], *([one.item] if one.item >= 0 else [])) for one in questions]
        sources = ["item" if one.item >= 0 else "" for one in questions]
        return self._ranked(questions, vector_BD, sources, masked, asked, self.item_scale_I)

    def _ranked(
        self, questions: list[Question], vector_BD: np.ndarray, sources: list[str], masked: list[np.ndarray],
        asked: dict[str, Any], scale_I: Any,
    ) -> list[Answer]:  # fmt: skip
        """Answers by vectors: among candidates, or among all items in blocks; popular ones where there is no vector."""
        answers = [NOTHING] * len(questions)
        everything = []
        for place, (one, source) in enumerate(zip(questions, sources, strict=True)):
            if not source:
                answers[place] = self._popular(one, masked[place], asked)
            elif one.candidates is None:
                everything.append(place)
            else:
                rows = np.setdiff1d(one.candidates, masked[place])
                scores = exact_scores(self.item_ID[rows], vector_BD[place])
                scores = scores if scale_I is None else scores * scale_I[rows]
                answers[place] = self._answer(*best_of(rows, scores, asked["k"]), source)
        longest = self.longest if scale_I is None else 1.0

        def rank_block(start: int) -> list[tuple[np.ndarray, np.ndarray]]:
            block = everything[start : start + USERS_AT_ONCE]
            masks = [masked[place] for place in block]
            return rank_all(vector_BD[block], self.item_ID, asked["k"], masks, scale_I, longest)

        with ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:  # while one multiplies, the other selects
            found = list(pool.map(rank_block, range(0, len(everything), USERS_AT_ONCE)))
        for place, best in zip(everything, chain.from_iterable(found), strict=True):
            answers[place] = self._answer(*best, sources[place])
        return answers

    def _popular(self, question: Question, masked: np.ndarray, asked: dict[str, Any]) -> Answer:
        """What most users have; nothing where that is asked for."""
        if asked["unknown"] == "empty":
            return NOTHING
        if question.candidates is None:
            rows = self.popular_item_I[: asked["k"] + len(masked)]
        else:
            rows, _ = best_of(question.candidates, self.popularity_I[question.candidates], len(self.popularity_I))
        rows = rows[~is_in(rows, masked)][: asked["k"]]
        return self._answer(rows, self.popularity_I[rows], "popular")

    def _score(self, questions: list[Question], asked: dict[str, Any]) -> list[Answer]:
        """One score a question; nothing for an item that is not in the release."""
        user_BD, sources = self._vectors(questions, asked)
        rows = np.array([max(one.item, 0) for one in questions], np.int64)
        score_B = np.einsum("bd,bd->b", self.item_ID[rows].astype(np.float64), user_BD).astype(np.float32)
        answers = []
        for place, one in enumerate(questions):
            if one.item < 0 and asked["unknown"] == "error":
                raise WrongQuestion(f"request {place}: item_id {one.item_id!r} is not in the release")
            row = rows[place : place + 1]
            if one.item < 0 or (not sources[place] and asked["unknown"] == "empty"):
                answers.append(NOTHING)
            elif sources[place]:
                answers.append(Answer(row, score_B[place : place + 1], sources[place]))
            else:
                answers.append(Answer(row, self.popularity_I[row], "popular"))
        return answers

    def _answer(self, rows: np.ndarray, scores: np.ndarray, source: str) -> Answer:
        return Answer(rows, scores, source) if len(rows) else NOTHING

    def _table(self, questions: list[Question], answers: list[Answer], *, similar: bool) -> pd.DataFrame:
        """A row for each item, and one with nothing in it for a question without any."""
        sizes = [max(1, len(one.rows)) for one in answers]
        rows = np.concatenate([NONE, *(one.rows if len(one.rows) else [-1] for one in answers)]).astype(np.int64)
        score = np.concatenate([NOTHING.scores, *(one.scores if len(one.rows) else [0] for one in answers)])
        rank = np.concatenate([NONE, *(np.arange(1, size + 1) for size in sizes)])
        ids = [one.item_id if similar else one.user_id for one in questions]
        columns: dict[str, Any] = {
            "request": np.repeat(np.arange(len(questions)), sizes),
            "asked_item_id" if similar else "user_id": [
                name for name, size in zip(ids, sizes, strict=True) for _ in range(size)
            ],
            "rank": rank,
            "item_id": self.items.take(rows),
            "score": score.astype(np.float32),
            "source": [one.source for one, size in zip(answers, sizes, strict=True) for _ in range(size)],
        }
        for name in ("rank", "score"):
            if (rows < 0).any():
                columns[name] = [
                    None if row < 0 else cell for row, cell in zip(rows, columns[name].tolist(), strict=True)
                ]
        return pd.DataFrame(
            {
                name: pd.Series(cells, dtype=object if isinstance(cells, list) and None in cells else None)
                for name, cells in columns.items()
            }
        )


set_model(Ranker())
