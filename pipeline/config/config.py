"""The configuration: one TOML file composed of the dataclasses that own each section."""

import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from upath import UPath

from features.modality import ModalityConfig
from model.config import ModelConfig, TrainConfig
from pipeline.addresses import without_secrets
from pipeline.catalogue.catalogue import Catalogue, CatalogueConfig
from pipeline.config.airflow import AirflowConfig
from pipeline.config.compare import CompareConfig
from pipeline.config.pgvector import PgvectorConfig
from pipeline.config.search_space import TuneConfig
from pipeline.dataset.kinds import EvaluationConfig
from pipeline.dataset.split import SplitConfig
from pipeline.errors import ConfigError, nearest
from pipeline.registry.checks import ChecksConfig
from pipeline.registry.connection import SQLITE, absolute_uri
from pipeline.registry.gate import GateConfig
from pipeline.registry.tracking import MlflowConfig, Tracking
from pipeline.release.space import ExportConfig
from pipeline.storage.files import is_local, local_path, require_known_scheme, require_reachable, resolve
from pipeline.storage.layout import Store, StoreConfig

if typing.TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEFAULT_FILE = Path("microrec.toml")
_ALTERNATIVES = ("Range", "tuple[any, ...]", "int", "literal['auto']")
"""How pydantic calls the kinds of values that a key takes, in the place of a problem."""
_MODALITY_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]*")
WARM_START_NONE, WARM_START_CHAMPION = "none", "champion"
"""Values of `train.warm_start` that are no run's id."""
_EXPECTED = {"tuple_type": "expected a list", "dataclass_type": "expected a table", "dict_type": "expected a table"}


def _default_modalities() -> dict[str, ModalityConfig]:
    return {
        "image": ModalityConfig(encoder="efficientnet-lite0"),
        "text": ModalityConfig(encoder="all-minilm-l6-v2", columns=("title", "categories", "description")),
    }


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run depends on. `base` is the folder that relative locations start at."""

    catalogue: CatalogueConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    modalities: dict[str, ModalityConfig] = field(default_factory=_default_modalities)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    mlflow: MlflowConfig = field(default_factory=MlflowConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    airflow: AirflowConfig = field(default_factory=AirflowConfig)
    """When and where nights run: no part of what a run depends on."""
    pgvector: PgvectorConfig = field(default_factory=PgvectorConfig)
    """What a consumer loads: no part of it either."""
    base: Path = Path()

    def __post_init__(self) -> None:
        for name in self.modalities:
            if not _MODALITY_NAME.fullmatch(name):
                raise ConfigError(
                    f"[modalities]: {name!r} cannot be a modality's name, which names folders and columns; "
                    "use letters, digits, _ and -, beginning with a letter"
                )
        for key, location in (
            ("store.root", self.store.root),
            ("catalogue.items", self.catalogue.items),
            *(("catalogue.interactions", one) for one in self.catalogue.interactions),
            ("catalogue.image_root", self.catalogue.image_root),
            *((f"modalities.{name}.vectors", one.vectors) for name, one in self.modalities.items()),
        ):
            require_known_scheme(location, key)

    def path(self, location: str) -> UPath:
        """Resolve a location that stands in this configuration."""
        return resolve(location, self.base)

    def open_store(self) -> Store:
        """Return the store this configuration writes to.

        Raises `ConfigError` where its place is taken by a file, `InputError` where its bucket cannot be reached.
        """
        root = self.path(self.store.root)
        require_reachable(root, "store.root")
        if is_local(root) and root.exists() and not root.is_dir():
            raise ConfigError(f"store.root: {root} is a file; name a folder")
        return Store(root)

    def open_catalogue(self) -> Catalogue:
        """Return the catalogue this configuration reads; nothing is read yet."""
        return Catalogue(self.catalogue, self.base)

    def open_tracking(self, *, reading: bool = False) -> Tracking:
        """Connect to the tracking server or open the database, creating a missing SQLite file.

        Args: reading: nothing is written; the database may stand where nothing can be.

        Raises `ConfigError` for an address MLflow cannot use.
        """
        uri = absolute_uri(self.tracking_uri, self.base)
        if not uri.startswith(SQLITE):
            return Tracking(uri, self.mlflow, None, None)
        database = Path(uri.removeprefix(SQLITE))
        database.parent.mkdir(parents=True, exist_ok=True)
        root = self.path(self.store.root)
        artifacts = (local_path(root) if is_local(root) else database.parent) / "mlartifacts"
        return Tracking(uri, self.mlflow, artifacts, database, reading=reading)

    @property
    def tracking_uri(self) -> str:
        """MLflow's address with `{store.root}` filled in; a relative SQLite file starts at `base`."""
        root = self.path(self.store.root)
        uri = self.mlflow.tracking_uri
        if "{store.root}" in uri and not is_local(root):
            raise ConfigError("mlflow.tracking_uri: a database file cannot live in an object store; name a server")
        return uri.replace("{store.root}", str(root))

    @property
    def signing_key(self) -> Path | None:
        """File of the key that signs releases, where one is configured."""
        return local_path(self.path(self.export.signing_key)) if self.export.signing_key else None

    @property
    def public_keys(self) -> list[Path]:
        """Files of the keys of which one must have signed what becomes champion; none: it need not be signed."""
        return [local_path(self.path(one)) for one in self.export.public_keys]

    def as_dict(self) -> dict[str, Any]:
        """The resolved configuration as plain JSON values, without `base`, `[airflow]`, `[pgvector]` and secrets."""
        redacted: dict[str, Any] = without_secrets(self._document())
        return redacted

    def with_values(self, values: typing.Mapping[str, Any], origin: str = "configuration") -> "Config":
        """Copy with other values at some keys (`train.learning_rate`).

        Raises `ConfigError` for an unknown key or a wrong value, naming `origin`.
        """
        document = self._document()
        for key, value in values.items():
            _assign(document, key, value, origin)
        return compose(document, base=self.base, origin=origin)

    def _document(self) -> dict[str, Any]:
        document = dataclasses.asdict(self)
        del document["base"], document["airflow"], document["pgvector"]
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain


def load_config(file: Path | None, overrides: typing.Sequence[str] = ()) -> Config:
    """Read `file` (default `microrec.toml`), apply `section.key=value` overrides, validate.

    Raises `ConfigError` for a missing file, wrong TOML, an unknown key (naming the nearest known one) or
    a wrong value.
    """
    path = file or DEFAULT_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no configuration at {path}; give one with -c FILE (`microrec sample DIR` writes one)"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for override in overrides:
        _apply_override(document, override)
    base = document.pop("base", ".")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: expected a folder, got {base!r}")
    return compose(document, base=path.resolve().parent / Path(base).expanduser(), origin=str(path))


def compose(document: dict[str, Any], *, base: Path, origin: str = "configuration") -> Config:
    """Build the validated configuration from plain values."""
    if "base" in document:
        raise ConfigError(f"{origin}: unknown key 'base'")
    _refuse_unknown_keys(Config, document, origin, "")
    _require_finite(document, origin)
    try:
        return TypeAdapter(Config).validate_python({**document, "base": base})
    except ValidationError as error:
        raise ConfigError(f"{origin}: {'; '.join(map(_told, error.errors()))}") from error


def _told(problem: "ErrorDetails") -> str:
    """One problem that pydantic found: the key, what is expected there, and what is there."""
    key = ".".join(str(part) for part in problem["loc"] if part not in _ALTERNATIVES) or "configuration"
    if problem["type"] == "missing":
        return f"{key} has no value; set it"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    expected = _EXPECTED.get(problem["type"], problem["msg"].replace("Input should be", "expected"))
    return f"{key}: {expected}, got {without_secrets(problem['input'])!r}"


def _require_finite(value: Any, origin: str, key: str = "") -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_finite(inner, origin, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            _require_finite(inner, origin, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{origin}: {key}: expected a finite number, got {value}")


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {without_secrets(override)!r}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    _assign(document, key, value, f"--set {without_secrets(override)!r}")


def _assign(document: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *sections, name = (part.strip() for part in key.split("."))
    table = document
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: {section!r} is a value, not a section")
    table[name] = value


def _refuse_unknown_keys(owner: Any, document: Any, origin: str, prefix: str) -> None:
    if not isinstance(document, dict):
        return
    hints = typing.get_type_hints(owner)
    known = {f.name for f in dataclasses.fields(owner)} - {"base"}
    for key, value in document.items():
        if key not in known:
            raise ConfigError(f"{origin}: unknown key {prefix + key!r}; {nearest(key, known, prefix)}")
        for section, table in _sections(hints[key], value):
            _refuse_unknown_keys(
                section,
                table,
                origin,
                f"{prefix}{key}." + ("" if table is value else f"{_key_of(value, table)}."),
            )


def _sections(hint: Any, value: Any) -> list[tuple[Any, Any]]:
    """The dataclasses that `hint` puts at this key, each with its table."""
    if dataclasses.is_dataclass(hint):
        return [(hint, value)]
    if typing.get_origin(hint) in (dict, types.MappingProxyType) and isinstance(value, dict):
        inner = typing.get_args(hint)[1]
        owner = next((owner for owner in (inner, *typing.get_args(inner)) if dataclasses.is_dataclass(owner)), None)
        return [(owner, table) for table in value.values()] if owner else []
    return []


def _key_of(tables: dict[str, Any], table: Any) -> str:
    return next(name for name, candidate in tables.items() if candidate is table)
