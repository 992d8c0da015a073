"""MLflow: the one module that talks to it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MlflowConfig:
    """Where runs are logged and models registered."""

    tracking_uri: str = "sqlite:///{store.root}/mlflow.db"
    """`sqlite:///FILE`, `postgresql+psycopg2://…` or a server's address; `{store.root}` is filled in."""
    experiment: str = "microrec"
    model_name: str = "microrec"
