"""A shop with planted tastes, its releases written without training: for tests of what the gate says of them."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from pipeline import stages
from pipeline.columns import ITEM_ID, USER_ID
from pipeline.dataset.dataset import Dataset, index_interactions
from pipeline.dataset.records import Evaluation
from pipeline.dataset.split import SplitConfig, split_interactions
from pipeline.opening import open_run
from pipeline.registry.champion import Champion
from pipeline.registry.gate import GateConfig
from pipeline.registry.judging.contender import Contender
from pipeline.registry.judging.judge import judge
from pipeline.release.format import ITEM_EMBEDDINGS, ITEM_GRAPH, USER_VECTORS, non_null_table
from pipeline.release.verdict import Verdict
from pipeline.run import run_stage
from pipeline.stages.results import PrepareResult
from pipeline.storage.arrow import vector_column
from tests.pipeline.release_factory import DIM, make_config, publish_release, quiet

NUM_USERS, NUM_ITEMS, PER_USER = 500, 240, 15


class Shop:
    """Users take the items that are nearest to their taste, with some luck."""

    def __init__(self, folder: Path, *, split: SplitConfig | None = None) -> None:
        rng = np.random.default_rng(0)
        self.config = make_config(folder, database=False)
        self.split = split or SplitConfig()
        self.user_UD, self.item_ID = rng.normal(size=(NUM_USERS, DIM)), rng.normal(size=(NUM_ITEMS, DIM))
        score_UI = self.user_UD @ self.item_ID.T + 2 * rng.gumbel(size=(NUM_USERS, NUM_ITEMS))
        self.taken_UK = np.argsort(-score_UI, axis=1)[:, :PER_USER]

    def candidate(
        self,
        run_id: str,
        noise: float,
        *,
        seed: int = 1,
        num_items: int = NUM_ITEMS,
        shuffled: bool = False,
        has_content: bool = False,
    ) -> Contender:
        """A model that knows the tastes up to noise; trained on shuffled interactions it knows nothing of them."""
        rng = np.random.default_rng(seed)
        taken_UK = self.taken_UK
        if shuffled:
            taken_UK = rng.permuted(taken_UK.reshape(-1)).reshape(taken_UK.shape)
        dataset = self._dataset(taken_UK, num_items)
        users, items = dataset.users[USER_ID], dataset.items[ITEM_ID]
        tastes = rng.normal(size=self.user_UD.shape) if shuffled else self.user_UD
        user_UD = (tastes + noise * rng.normal(size=tastes.shape))[users.str.slice(1).cast(pl.Int64).to_numpy()]
        item_ID = (self.item_ID + noise * rng.normal(size=self.item_ID.shape))[:num_items]
        return Contender(
            run_id=run_id,
            users=users,
            items=items,
            user_UD=torch.from_numpy(user_UD.astype(np.float32)),
            item_ID=torch.from_numpy(item_ID.astype(np.float32)),
            has_content_I=np.full(len(items), has_content),
            dataset=dataset,
            cold_items=self.split.strategy == "cold-items",
        )

    def _dataset(self, taken_UK: np.ndarray, num_items: int) -> Dataset:
        pairs = [
            (f"u{user:04}", f"i{item:04}") for user, row in enumerate(taken_UK) for item in row if item < num_items
        ]
        interactions = pl.DataFrame(pairs, schema=[USER_ID, ITEM_ID], orient="row").unique().sort(USER_ID, ITEM_ID)
        items = pl.DataFrame({ITEM_ID: [f"i{item:04}" for item in range(num_items)]})
        users, indexed = index_interactions(split_interactions(interactions, self.split), items)
        return Dataset(items=items, users=users, interactions=indexed, features={}, present={})

    def crown(self, contender: Contender, previous: Champion | None = None, generation: int = 1) -> Champion:
        """Publish a contender's release and what its run prepared, and name it the champion."""
        run = open_run(dataclasses.replace(self.config, split=self.split), contender.run_id, quiet())
        run = dataclasses.replace(run, generation=generation)
        dataset, count = contender.dataset, len(contender.items)
        if dataset is not None:

            def prepare(_, folder: Path) -> PrepareResult:
                dataset.save(folder)
                return PrepareResult(counts={}, input_digests={}, encoders={})

            run_stage(run, stages.PREPARE, prepare)
        item_id, vectors = contender.items.to_arrow(), vector_column(contender.item_ID.numpy())
        source = pa.array(np.where(contender.has_content_I, "content", "interactions"))
        graph = {"neighbour_id": item_id, "modality": source, "rank": pa.array(np.ones(count, dtype=np.int32))}
        columns = {"item_id": item_id, "embedding": vectors, "content_embedding": vectors, "source": source}
        tables = {
            ITEM_EMBEDDINGS: non_null_table(columns),
            USER_VECTORS: non_null_table(
                {"user_id": contender.users.to_arrow(), "embedding": vector_column(contender.user_UD.numpy())}
            ),
            ITEM_GRAPH: non_null_table({"item_id": item_id, **graph, "weight": pa.array(np.ones(count, np.float32))}),
        }
        exported = publish_release(run, tables, Evaluation(), schema_version=1)
        return Champion(
            run_id=run.id, digest=exported.digest, model_name="microrec", model_version="1", previous=previous
        )

    def judge(self, candidate: Contender, champion: Champion | None, **settings: object) -> Verdict:
        """Ask the gate."""
        return judge(self.config.open_store(), GateConfig(**settings), candidate, champion)  # type: ignore[arg-type]
