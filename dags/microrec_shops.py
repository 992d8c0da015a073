"""The shops: a configuration each, with DAGs, assets and settings of its own.

`MICROREC_CONFIGS` names a folder: every `*.toml` in it is a shop, named by the file. Without it there is one shop: its
configuration is `MICROREC_CONFIG`, and its DAGs and assets carry no name.
"""

import logging
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airflow.sdk import Asset, Param
from microrec_settings import OWN, AirflowSettings, read_settings

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]*\.toml"


@dataclass(frozen=True)
class Shop:
    """One catalogue, one champion."""

    name: str
    """Empty where there is but one."""
    config: str
    """Path of its configuration."""
    settings: AirflowSettings
    damage: str | None = None
    """Why the settings could not be read; the default ones stand in."""

    def named(self, name: str) -> str:
        """A DAG's or an asset's name with the shop's behind it."""
        return f"{name}_{self.name}" if self.name else name

    @property
    def config_param(self) -> Param:
        """The parameter `config`: a file beside the configured one; in a folder of shops, the shop's own alone."""
        own = Path(self.config).name
        pattern, words = _FILE, "Configuration: the name of a file beside MICROREC_CONFIG."
        if self.name:
            pattern, words = re.escape(own), "The shop's configuration."
        return Param(own, type="string", pattern=f"^{pattern}$", description=words)

    @property
    def set_param(self) -> Param:
        """The parameter `set`: what `airflow.overridable` does not name is refused before the run exists."""
        entries = "|".join(map(re.escape, (*self.settings.overridable, *OWN)))
        words = "Overrides, section.key=value, of airflow.overridable; {ds} stands for the night's date."
        return Param([], type="array", items={"type": "string", "pattern": rf"^({entries})[.=]"}, description=words)

    @property
    def tags(self) -> list[str]:
        return ["microrec", *([self.name] if self.name else []), *(["damaged"] if self.damage else [])]

    def doc(self, text: str | None) -> str:
        """A DAG's documentation, begun by what is wrong with the configuration."""
        return f"**Damaged configuration**: {self.damage}\n\n{text}" if self.damage else text or ""

    @cached_property
    def catalogue(self) -> Asset:
        """A DAG that writes the catalogue names it as outlet, or another program posts an event."""
        return self._asset("catalogue")

    @cached_property
    def interactions(self) -> Asset:
        """The same for the interactions: with both a night begins."""
        return self._asset("interactions")

    @cached_property
    def release(self) -> Asset:
        """Its events carry `run_id`, `release`, `digest`, `counts`, `metrics` and `trial`."""
        return self._asset("release")

    @cached_property
    def champion(self) -> Asset:
        """Its events carry `run_id`, `release`, `digest`, `counts`, `metrics` and `model_version`."""
        return self._asset("champion")

    @cached_property
    def increment(self) -> Asset:
        """Its events carry `run_id`, `release`, `digest`, `increment`, `number`, and how many items it has."""
        return self._asset("increment")

    def _asset(self, kind: str) -> Asset:
        place = f"{self.name}/{kind}" if self.name else kind
        return Asset(name=self.named(f"microrec_{kind}"), uri=f"x-microrec://{place}")


def find_config(name: str) -> Path:
    """The configuration file of that name, in the one folder where configurations are.

    Raises `ValueError` if it is not the name of a file there.
    """
    if not re.fullmatch(_FILE, name):
        raise ValueError(f"config is {name!r}; name a file beside the configured one, such as microrec.toml")
    folder = os.environ.get("MICROREC_CONFIGS")
    return Path(folder) / name if folder else _one_config().with_name(name)


def _one_config() -> Path:
    return Path(os.environ.get("MICROREC_CONFIG", "microrec.toml"))


def find_shops() -> list[Shop]:
    """Every shop; one whose settings cannot be read keeps its DAGs, and its nights fail with the reason."""
    folder = os.environ.get("MICROREC_CONFIGS")
    if not folder:
        return [_shop("", _one_config())]
    files = sorted(Path(folder).glob("*.toml"))
    if not files:
        log.error("MICROREC_CONFIGS: there is no *.toml in %s; put a configuration for each shop there", folder)
    for file in files:
        if not _NAME.fullmatch(file.stem):
            log.error("%s: cannot name a DAG; use letters, digits, _ and - in the file's name", file)
    return [_shop(file.stem, file) for file in files if _NAME.fullmatch(file.stem)]


def _shop(name: str, file: Path) -> Shop:
    try:
        return Shop(name, str(file), read_settings(file))
    except FileNotFoundError:  # the scheduler's side may lack the file, which only the workers need
        return Shop(name, str(file), AirflowSettings())
    except (OSError, ValueError) as error:
        log.error("%s", error)
        return Shop(name, str(file), AirflowSettings(), str(error))
