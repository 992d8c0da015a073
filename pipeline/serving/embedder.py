"""The model that MLflow serves beside the ranker: vectors of new items from their pictures and texts.

MLflow copies this file into the model, and `features` and `model` beside it (models from code), so it needs torch and
what the encoders need, and never the rest of this program. The files that it reads are written by
`pipeline.stages.register_embedder` (docs/reference/serving.md).

Shapes: Q new items, I items of the release, K nearest of them, F feature dimension, D embedding dimension.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from safetensors.torch import load_file

from features.encoder import Encoder
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from features.registry import find_encoders
from features.scale import in_range
from features.texts import joined
from model.inductive import content_vectors

ITEM_ID, IMAGE, IMAGE_PATH, K = "item_id", "image", "image_path", "k"
LARGEST_PICTURE = 1 << 26
"""Bytes of a picture's file."""


class WrongQuestion(MlflowException):
    """A refusal of one line."""

    def __init__(self, text: str) -> None:
        super().__init__(text, error_code=INVALID_PARAMETER_VALUE)


Read = Callable[[dict[str, Any], int], Any]
"""From a row and its number to a modality's content; None where the row has none."""


class Modality:
    """What a row says of one modality, and its vector."""

    def __init__(self, name: str, about: dict[str, Any]) -> None:
        self.name, self.dim, config = name, int(about["dim"]), about["config"]
        self._encoder: Encoder | None = None
        if config is None:  # precomputed: the caller has the vector
            self.columns = [f"{name}_vector"]
            return
        settings = ModalityConfig(**{**config, "columns": tuple(config["columns"])})
        specs = {spec.key: spec for spec in find_encoders(name, settings)}
        if about["key"] not in specs:
            raise MlflowException(
                f"modality {name}: the release was made with encoder {about['key']}, here it is {' or '.join(specs)}; "
                "install the packages that the model's requirements name"
            )
        spec = specs[about["key"]]
        self._encoder = spec.load()
        self.columns = [IMAGE, IMAGE_PATH] if spec.content == "image" else list(settings.columns)

    def features(self, rows: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features float32 (Q, F), 0 where a row has no usable content, and bool (Q,) whether it has."""
        matrix_QF = torch.zeros(len(rows), self.dim)
        found = {
            number: content for number, row in enumerate(rows) if (content := self._content(row, number)) is not None
        }
        if found:
            contents = list(found.values())
            vectors = np.stack(contents) if self._encoder is None else self._encoder.encode(contents)
            matrix_QF[list(found)] = torch.from_numpy(np.asarray(vectors, np.float32))
        present_Q = matrix_QF.any(dim=1)
        return matrix_QF, present_Q

    def _content(self, row: dict[str, Any], number: int) -> Any:
        """What the encoder takes, or the vector itself; None where the row has nothing that can be used."""
        if self._encoder is None:
            return self._vector(row.get(self.columns[0]), number)
        if self.columns[0] != IMAGE:
            text = joined([as_text(row.get(column)) for column in self.columns])
            return self._encoder.prepare(text) if text else None
        payload = picture(row, number)
        try:
            return None if payload is None else self._encoder.prepare(payload)
        except UnreadableError:
            return None

    def _vector(self, cell: Any, number: int) -> np.ndarray | None:
        if is_missing(cell):
            return None
        vector_F = np.asarray(cell, np.float64)
        if vector_F.shape != (self.dim,) or not np.isfinite(vector_F).all():
            raise WrongQuestion(f"{self.columns[0]} of request {number}: expected a list of {self.dim} finite numbers")
        scaled_F: np.ndarray = in_range(vector_F[None])[0][0]
        return scaled_F


def is_missing(cell: Any) -> bool:
    """Whether a cell says nothing."""
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell))


def as_text(cell: Any) -> str | None:
    """A cell as the pipeline reads it: of a list, its entries joined by commas."""
    if isinstance(cell, list | tuple | np.ndarray):
        return ", ".join(str(entry) for entry in cell if not is_missing(entry))
    return None if is_missing(cell) else str(cell)


def picture(row: dict[str, Any], number: int) -> bytes | None:
    """The bytes of a row's picture: given as they are, in base64 as JSON needs them, or in a file of this machine."""
    cell = row.get(IMAGE)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, str) and cell:
        try:
            return base64.b64decode(cell, validate=True)
        except binascii.Error as error:
            raise WrongQuestion(f"{IMAGE} of request {number} is neither bytes nor base64: {error}") from None
    path = row.get(IMAGE_PATH)
    if is_missing(path) or path == "":
        return None
    file = Path(str(path))
    if not file.is_file() or file.stat().st_size > LARGEST_PICTURE:
        return None
    return file.read_bytes()


class Embedder(PythonModel):
    """Vectors of new items in the space of one release, and the release's items nearest to each."""

    def load_context(self, context: Any) -> None:
        """Load encoders and maps; the release's items are mapped into memory."""
        folder = Path(context.artifacts["embedder"])
        about = json.loads((folder / "about.json").read_bytes())
        self.modalities = [Modality(name, one) for name, one in about["modalities"].items()]
        self.known = [ITEM_ID, *dict.fromkeys(column for one in self.modalities for column in one.columns)]
        self.maps = load_file(folder / "maps.safetensors")
        self.items: Any = pa.ipc.open_file(pa.memory_map(str(folder / "item_ids.arrow"))).read_all().column(0)
        self.item_ID = np.load(folder / "item_ID.npy", mmap_mode="r")
        self.item_scale_I = np.load(folder / "item_scale_I.npy", mmap_mode="r")
        self.nearness_S = np.load(folder / "nearness_S.npy")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row for each row asked: `request, item_id, embedding, source, neighbours, similarity, confidence`.

        Raises `MlflowException` of one line for a column that is not known or a cell that makes no sense.
        """
        rows, k = self._rows(model_input), self._k(params)
        content = {one.name: one.features(rows) for one in self.modalities}
        vector_QD = content_vectors(self.maps, content).numpy()
        has_content_Q = torch.stack([present_Q for _, present_Q in content.values()]).any(dim=0).numpy()
        return pd.DataFrame(
            [
                {
                    "request": number,
                    ITEM_ID: row.get(ITEM_ID),
                    "embedding": vector_D.tolist(),
                    "source": "content" if has_content else "none",
                    **self._near(vector_D, k if has_content else 0),
                }
                for number, (row, vector_D, has_content) in enumerate(zip(rows, vector_QD, has_content_Q, strict=True))
            ],
            columns=["request", ITEM_ID, "embedding", "source", "neighbours", "similarity", "confidence"],
        )

    def _near(self, vector_D: np.ndarray, k: int) -> dict[str, Any]:
        """The nearest items by cosine, and how near they are beside what the release's own items have."""
        length = float(np.linalg.norm(vector_D))
        if k == 0 or length == 0:
            return {"neighbours": [], "similarity": [], "confidence": 0.0}
        cosine_I = (self.item_ID @ (vector_D / length)) * self.item_scale_I
        nearest_K = np.argsort(-cosine_I, kind="stable")[:k]
        nearness = float(np.partition(cosine_I, -1)[-1])
        return {
            "neighbours": self.items.take(pa.array(nearest_K)).to_pylist(),
            "similarity": cosine_I[nearest_K].tolist(),
            "confidence": float(
                np.searchsorted(self.nearness_S, nearness, side="right") / max(1, len(self.nearness_S))
            ),
        }

    def _rows(self, model_input: Any) -> list[dict[str, Any]]:
        if isinstance(model_input, dict):
            is_columns = any(isinstance(cells, list | np.ndarray | pd.Series) for cells in model_input.values())
            try:
                model_input = pd.DataFrame(model_input if is_columns else [model_input])
            except ValueError as error:
                raise WrongQuestion(f"the columns do not fit together: {error}") from None
        rows: Any = model_input.to_dict("records") if isinstance(model_input, pd.DataFrame) else model_input
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise WrongQuestion(f"items need named columns; known are {', '.join(self.known)}")
        unknown = [str(name) for row in rows for name in row if name not in self.known]
        if unknown:
            raise WrongQuestion(f"there is no column {unknown[0]!r}; known are {', '.join(self.known)}")
        return list(rows)

    def _k(self, params: dict[str, Any] | None) -> int:
        k = (params or {}).get(K, 10)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
            raise WrongQuestion(f"k is {k!r}; it is the number of neighbours per item, at least 0")
        return int(k)


set_model(Embedder())
