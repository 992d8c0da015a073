"""The folders of the store (docs/reference/formats.md)."""

from dataclasses import dataclass

from upath import UPath


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where features, runs and releases live."""

    root: str = "microrec-store"
    """Local folder (relative to the configuration file) or `s3://bucket/prefix`."""


@dataclass(frozen=True)
class Store:
    """Paths of the store (docs/reference/formats.md)."""

    root: UPath

    @property
    def runs(self) -> UPath:
        return self.root / "runs"

    @property
    def releases(self) -> UPath:
        return self.root / "releases"

    @property
    def champion(self) -> UPath:
        return self.root / "champion.json"

    @property
    def contents(self) -> UPath:
        return self.root / "contents"

    @property
    def increments(self) -> UPath:
        return self.root / "increments"

    def inside(self, path: UPath) -> str:
        """How the store's own files spell a path in it: relative to the root, so that it may be moved or mirrored."""
        return str(path.path).removeprefix(str(self.root.path).rstrip("/") + "/")

    def run(self, run_id: str) -> UPath:
        return self.runs / run_id

    def run_record(self, run_id: str) -> UPath:
        """The configuration that a run began with."""
        return self.run(run_id) / "config.json"

    def generation(self, run_id: str) -> UPath:
        """How often a run has begun; no file: once."""
        return self.run(run_id) / "generation.json"

    def release(self, run_id: str) -> UPath:
        return self.releases / run_id

    def increments_of(self, run_id: str) -> UPath:
        """Increments beside a release."""
        return self.increments / run_id

    def features(self, modality: str, encoder_key: str) -> UPath:
        return self.root / "features" / modality / encoder_key
