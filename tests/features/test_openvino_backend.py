"""Encoders by OpenVINO give torch's vectors, under keys of their own, whoever is in the batch."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from features import openvino_backend
from features.image_encoders import _load_network
from features.modality import ModalityConfig
from features.openvino_backend import NotConvertedError
from features.registry import find_encoder, find_encoders

LITE0, MINILM = {"encoder": "efficientnet-lite0"}, {"encoder": "all-minilm-l6-v2", "columns": ("title",)}
TEXTS = ["A red ceramic mug for coffee.", "Wall clock.", "A film about a clock that walks. " * 20, "Crimson cup", ""]


def spec(settings, backend="auto", **more):
    name = "text" if "columns" in settings else "image"
    return find_encoder(name, ModalityConfig(**settings, device="cpu", backend=backend, batch_size=4, **more))


@pytest.fixture(scope="module")
def payloads():
    """Pieces of photographs, as files."""
    made = []
    for picture in load_sample_images().images:
        for corner in (0, 100, 200):
            buffer = io.BytesIO()
            Image.fromarray(picture[corner:, corner:]).save(buffer, "JPEG")
            made.append(buffer.getvalue())
    return made


def cosines(one, other):
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.999999), ("bfloat16", 0.99)])
@pytest.mark.parametrize("settings", [LITE0, MINILM], ids=["image", "text"])
def test_encoder_by_openvino_gives_torchs_vectors(settings, precision, least, payloads):
    ours, torchs = spec(settings, "openvino", precision=precision).load(), spec(settings, "torch").load()
    contents = TEXTS if "columns" in settings else payloads
    vectors = ours.encode([ours.prepare(content) for content in contents])
    expected = torchs.encode([torchs.prepare(content) for content in contents])
    assert vectors.dtype == np.float32
    assert cosines(vectors, expected).min() >= least
    rounded = precision == "bfloat16" and "bf16" in Path("/proc/cpuinfo").read_text()  # else OpenVINO has float32
    assert (cosines(vectors, expected).min() <= 0.999999) == rounded
    assert ours.device == "cpu"
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_encoder_of_pictures_does_not_see_who_shares_the_batch(backend, payloads):
    """What shards, and contents in two places, rest on (docs/decisions/0041-contents-are-known.md)."""
    encoder = spec(LITE0, backend).load()
    one, two, three, four, *_ = map(encoder.prepare, payloads)
    whole = encoder.encode([one, two, three, four])
    np.testing.assert_array_equal(encoder.encode([four, two, one, two]), whole[[3, 1, 0, 1]])
    np.testing.assert_array_equal(encoder.encode([three, one, one, one])[0], whole[2])


def test_key_of_torch_stays_and_names_what_changes_the_vectors():
    assert spec(LITE0, "torch").key == "efficientnet-lite0-11ffe0cb4130"
    assert spec(MINILM, "torch", precision="float32").key == "all-minilm-l6-v2-32b42210d643"
    keys = [spec(LITE0, backend, precision=rounded).key for backend in ("torch", "openvino") for rounded in PRECISIONS]
    assert len(set(keys)) == 4
    assert spec(LITE0, "openvino").key == spec(LITE0, "openvino", precision="float32").key
    assert spec(MINILM, "torch", long_texts="average").name == "all-minilm-l6-v2+average"


PRECISIONS = ("auto", "bfloat16")


def test_backend_auto_is_openvino_on_a_cpu_and_torch_on_a_gpu(monkeypatch, tmp_path):
    def backends(**settings):
        found = find_encoders("image", ModalityConfig(encoder="efficientnet-lite0", **settings))
        return ["openvino" if one.by_openvino else "torch" for one in found]

    monkeypatch.setattr("features.registry.NVIDIA", tmp_path / "absent")
    assert backends() == backends(device="cpu") == ["openvino", "torch"]
    assert backends(device="cuda:1") == backends(backend="torch") == ["torch"]
    monkeypatch.setattr("features.registry.NVIDIA", tmp_path)
    assert backends() == ["torch", "openvino"]
    with pytest.raises(ValueError, match="runs on the CPU"):
        backends(device="cuda", backend="openvino")


class Mean(torch.nn.Module):
    def forward(self, pixels_BCHW):
        return pixels_BCHW.mean((2, 3))


class Odd(torch.nn.Module):
    def forward(self, pixels_BCHW):
        raise RuntimeError("no tracing")


def pixels(image):
    return np.moveaxis(np.asarray(image.resize((8, 8)), np.float32), 2, 0)


def test_network_is_converted_once_and_one_that_is_not_says_so(monkeypatch, tmp_path, payloads):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config, loads = ModalityConfig(encoder="x", backend="openvino", batch_size=2), []

    def load():
        loads.append(1)
        return Mean()

    for _ in range(2):
        encoder = _load_network(config, "mean", load, pixels, 3)
        prepared = [encoder.prepare(payload) for payload in payloads]
        np.testing.assert_allclose(encoder.encode(prepared), np.stack(prepared).mean((2, 3)), rtol=1e-5)
    assert len(loads) == 1
    with pytest.raises(NotConvertedError, match="no tracing"):
        _load_network(config, "odd", Odd, pixels, 3)
    assert len(list(openvino_backend.cache_folder().iterdir())) == 1
