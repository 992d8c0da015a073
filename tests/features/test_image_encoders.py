import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from features.errors import FeatureError
from features.image_encoders import efficientnet_input, efficientnet_pixels, load_efficientnet_lite0, remove_head
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from features.registry import find_encoder


@pytest.fixture(scope="module")
def photos():
    """Two photographs that scikit-learn ships: a Chinese palace and a dahlia."""
    bunch = load_sample_images()
    names = [name.rsplit("/", 1)[-1].split(".")[0] for name in bunch.filenames]
    return dict(zip(names, (Image.fromarray(picture) for picture in bunch.images), strict=True))


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def encoder():
    return find_encoder("image", ModalityConfig(encoder="efficientnet-lite0", device="cpu")).load()


def network_input(image):
    return efficientnet_input(torch.from_numpy(efficientnet_pixels(image).copy())[None])


def test_efficientnet_lite0_palace_is_classified_as_a_palace(photos):
    network = load_efficientnet_lite0()
    with torch.inference_mode():
        logits = network(network_input(photos["china"]))
    names = timm.data.ImageNetInfo().index_to_description
    probability, index = logits.softmax(1).topk(3)
    assert "palace" in names(int(index[0, 0])).split(",")[0]
    assert probability[0, 0] > 0.3


def test_efficientnet_lite0_features_are_what_the_classifier_sees(photos, encoder):
    network = load_efficientnet_lite0()
    vector = encoder.encode([encoder.prepare(jpeg(photos["china"]))])
    with torch.inference_mode():
        logits = network(network_input(Image.open(io.BytesIO(jpeg(photos["china"])))))
        ours = network.classifier(torch.from_numpy(vector))
    assert vector.shape == (1, encoder.dim) == (1, 1280)
    torch.testing.assert_close(ours, logits, atol=1e-3, rtol=1e-3)


def test_efficientnet_pixels_centre_and_scale_are_the_familys():
    white = network_input(Image.new("RGB", (300, 500), (255, 255, 255)))
    assert white.shape == (1, 3, 224, 224)
    assert white.dtype == torch.float32
    assert (white == 1.0).all()
    assert (network_input(Image.new("RGB", (10, 10), (127, 127, 127))) == 0.0).all()


def test_encoder_broken_picture_is_unreadable_not_fatal(encoder):
    with pytest.raises(UnreadableError):
        encoder.prepare(b"broken")


def test_encoder_crop_of_a_photo_is_nearer_to_it_than_another_photo(photos, encoder):
    width, height = photos["china"].size
    crop = photos["china"].crop((20, 20, width - 20, height - 20))
    china, again, flower = encoder.encode([encoder.prepare(jpeg(p)) for p in (photos["china"], crop, photos["flower"])])

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(china, again) > cosine(china, flower) + 0.2


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32"])
def test_remove_head_torchvision_network_ends_in_its_features(name):
    from torchvision.models import get_model

    network = get_model(name, weights=None).eval()
    dim = remove_head(network)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, dim)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet999@DEFAULT", "torchvision:resnet999@DEFAULT is unknown"),
        ("torchvision:resnet18@NONE", "torchvision:resnet18@NONE is unknown"),
        ("timm:nothing", "timm:nothing is unknown"),
        ("clip", "unknown; use efficientnet-lite0"),
    ],
)
def test_find_encoder_unknown_name_is_refused_with_the_known_ones(name, message):
    with pytest.raises(FeatureError, match=message):
        find_encoder("image", ModalityConfig(encoder=name))


def test_encoder_spec_key_changes_with_revision_and_is_a_file_name():
    spec = find_encoder("image", ModalityConfig(encoder="torchvision:resnet18@IMAGENET1K_V1"))
    other = find_encoder("image", ModalityConfig(encoder="torchvision:resnet50@IMAGENET1K_V1"))
    assert spec.key != other.key
    assert not set(spec.key) & set("/:@ ")
