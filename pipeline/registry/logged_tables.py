"""A table as MLflow shows it among a run's datasets: where it lies, what is in it, and its digest."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.addresses import without_secrets

if TYPE_CHECKING:
    import polars as pl
    from mlflow.entities import DatasetInput

LONGEST_NAME, LONGEST_DIGEST = 500, 36
"""Characters that MLflow keeps."""


@dataclass(frozen=True, kw_only=True)
class LoggedTable:
    """One file that a run was made from, or one table that it has prepared; None where it is not known."""

    name: str
    sha256: str
    location: str | None = None
    """The whole address; None: the name is."""
    bytes: int | None = None
    rows: "pl.DataFrame | None" = None
    """The table itself, of which the number of rows and the columns' types are told."""

    def as_input(self) -> "DatasetInput":
        """As MLflow takes it; its digest field holds the first 36 characters, a tag all of them."""
        from mlflow.data.polars_dataset import infer_schema
        from mlflow.entities import Dataset, DatasetInput, InputTag

        rows = None if self.rows is None else len(self.rows)
        profile = {key: value for key, value in (("num_rows", rows), ("bytes", self.bytes)) if value is not None}
        columns = None if self.rows is None else {"mlflow_colspec": infer_schema(self.rows).to_dict()}
        dataset = Dataset(
            name=self.name[-LONGEST_NAME:],
            digest=self.sha256[:LONGEST_DIGEST],
            source_type="file",
            source=str(without_secrets(self.location or self.name)),
            schema=json.dumps(columns) if columns else None,
            profile=json.dumps(profile) if profile else None,
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training"), InputTag("sha256", self.sha256)])
