"""The model that MLflow serves: `user_id` to ranked items, by exact inner product over a release's vectors.

MLflow copies this one file into the model and runs it wherever the model is loaded (models from code), so it
needs numpy, pandas, pyarrow and MLflow, and never the rest of this program. Its state is two Parquet tables.
Shapes: I items, U users, D dimension.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

DEFAULT_K = 20


def read_vectors(folder: Path, id_column: str) -> tuple[Any, np.ndarray]:
    """Read the ids (an Arrow array) and the float32 (R, D) vectors of `part-*.parquet`, parts in order of name."""
    columns = [id_column, "embedding"]
    table = pa.concat_tables([pq.read_table(part, columns=columns) for part in sorted(folder.glob("part-*.parquet"))])
    vectors: Any = table.column("embedding").combine_chunks()
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    matrix = np.asarray(flat, dtype=np.float32).reshape(table.num_rows, vectors.type.list_size)
    return table.column(id_column).combine_chunks(), matrix


def rank_items(user_D: np.ndarray, item_ID: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the `k` best items (1 <= k <= I), best first, and their float32 scores.

    Equal scores keep the order of the table. One user is scored at a time, so that an answer does not depend
    on who else was asked for in the same call.
    """
    score_I = item_ID @ user_D
    threshold = np.partition(score_I, -k)[-k]
    candidate = np.flatnonzero(score_I >= threshold)
    best = candidate[np.argsort(-score_I[candidate], kind="stable")[:k]]
    return best, score_I[best]


class Ranker(PythonModel):
    """Column `user_id` in; `user_id, rank, item_id, score` out, best first, rank from 1.

    Every row asked for is answered in the order asked; a user the release does not know gives no rows.
    Parameter `k`: items per user. Nothing is left out, items the user already knows included.
    """

    def load_context(self, context: Any) -> None:
        """Read the tables that came with the model."""
        self.item_id, self.item_ID = read_vectors(Path(context.artifacts["item_embeddings"]), "item_id")
        user_id, self.user_UD = read_vectors(Path(context.artifacts["user_vectors"]), "user_id")
        self.row_of_user = {user: row for row, user in enumerate(user_id.to_pylist())}

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Rank items for every user asked for.

        Raises `ValueError` for a `k` below 1.
        """
        k = int((params or {}).get("k", DEFAULT_K))
        if k < 1:
            raise ValueError(f"k is {k}; it is the number of items per user, at least 1")
        k = min(k, len(self.item_id))
        users = [user for user in model_input["user_id"].tolist() if user in self.row_of_user and k]
        best = [rank_items(self.user_UD[self.row_of_user[user]], self.item_ID, k) for user in users]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *(rows for rows, _ in best)])
        return pd.DataFrame(
            {
                "user_id": pd.Series(users, dtype=model_input["user_id"].dtype).repeat(k).to_numpy(),
                "rank": np.tile(np.arange(1, k + 1), len(users)),
                "item_id": self.item_id.take(pa.array(rows)).to_pandas(),
                "score": np.concatenate([np.empty(0, dtype=np.float32), *(scores for _, scores in best)]),
            }
        )


set_model(Ranker())
