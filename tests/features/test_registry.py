import pytest

from features.encoder import EncoderSpec
from features.errors import FeatureError
from features.modality import ModalityConfig
from features.registry import ENCODERS, find_encoder

FORMS = (
    "efficientnet-lite0, all-minilm-l6-v2, torchvision:<model>@<weights>, timm:<name>, "
    "sentence-transformers:<name or path>, hashed-words:<dim>"
)


def refusal(name, modality="image"):
    with pytest.raises(FeatureError) as caught:
        find_encoder(modality, ModalityConfig(encoder=name, columns=("title",)))
    return str(caught.value)


@pytest.mark.parametrize("name", ["clip", "clip:vit", "", "efficientnet-lite0:x", "all-minilm-l6-v2:", "efficientnet"])
def test_find_encoder_name_of_no_form_is_refused_with_all_of_them(name):
    assert refusal(name) == f"modalities.image.encoder = {name!r} is unknown; use {FORMS} or precomputed"


@pytest.mark.parametrize("prefix", ["torchvision", "timm", "sentence-transformers"])
@pytest.mark.parametrize("colon", ["", ":"])
def test_find_encoder_prefix_without_a_name_is_told_what_its_own_form_lacks(prefix, colon):
    message = refusal(prefix + colon)
    assert prefix in message
    assert "precomputed" not in message


def test_find_encoder_new_entry_is_found_and_named(monkeypatch):
    taken = []

    def mine(config, name, content):
        taken.append((name, content))
        return EncoderSpec(name=config.encoder, content=content, revision="1", load=pytest.fail)

    monkeypatch.setitem(ENCODERS, "mine:<name>", mine)
    spec = find_encoder("image", ModalityConfig(encoder="mine:a:b"))
    assert (spec.name, spec.content) == ("mine:a:b", "image")
    find_encoder("image", ModalityConfig(encoder="mine:c", columns=("title",)))
    find_encoder("text", ModalityConfig(encoder="mine:d", columns=("title",)))
    assert taken == [("a:b", "image"), ("c", "text"), ("d", "text")]
    assert refusal("clip").endswith(f"use {FORMS}, mine:<name> or precomputed")
