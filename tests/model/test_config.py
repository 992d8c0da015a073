import subprocess
import sys
from typing import get_args

import pytest

from model.backbones import BACKBONES
from model.config import BackboneName, FusionName, ModelConfig, RankingName, TrainConfig
from model.fusion import FUSIONS
from model.ranking import RANKING_LOSSES


@pytest.mark.parametrize("module", ["model.config", "model.epoch"])
def test_settings_and_history_are_read_without_torch(module):
    code = f"import sys, {module}; sys.exit(not {{'torch', 'numpy'}}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("registry", "names"), [(BACKBONES, BackboneName), (RANKING_LOSSES, RankingName), (FUSIONS, FusionName)]
)
def test_registries_have_what_the_configuration_names(registry, names):
    assert set(registry) == set(get_args(names))


def test_model_config_unknown_backbone_names_the_nearest():
    with pytest.raises(ValueError, match=r"backbone 'lightgnc' is unknown; use one of .*; the nearest is 'lightgcn'"):
        ModelConfig(backbone="lightgnc")
    with pytest.raises(ValueError, match=r"use one of lightgcn, mf, ngcf$"):
        ModelConfig(backbone="zzz")


def test_model_config_without_content_and_map_new_items_are_refused():
    with pytest.raises(ValueError, match="with content_weight = 0, new_items = 'graphs' gives no vector"):
        ModelConfig(content_weight=0.0, new_items="graphs")


@pytest.mark.parametrize(
    ("interactions", "size"), [(100, 4096), (14 * 4096, 4096), (14 * 5000, 5000), (10**7, 714_286)]
)
def test_train_config_batch_size_auto_grows_with_the_interactions(interactions, size):
    assert TrainConfig().interactions_per_step(interactions) == size
    assert TrainConfig(batch_size=7).interactions_per_step(interactions) == 7
