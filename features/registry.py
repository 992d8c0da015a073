"""How a configured name becomes an encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from features import hashed_words, image_encoders, text_encoders
from features.encoder import ContentKind, EncoderSpec
from features.errors import FeatureError
from features.modality import Backend, ModalityConfig

NVIDIA = Path("/proc/driver/nvidia/version")
"""There if a GPU's driver is loaded; so torch need not be loaded to find out."""
Make = Callable[[ModalityConfig, str, ContentKind], EncoderSpec]
"""From the configuration, what follows the colon, and the content where the encoder takes either."""

ENCODERS: dict[str, Make] = {
    image_encoders.EFFICIENTNET_LITE0: lambda config, _, __: image_encoders.efficientnet_lite0(config),
    text_encoders.MINILM: lambda config, _, __: text_encoders.minilm(config),
    "torchvision:<model>@<weights>": lambda config, name, _: image_encoders.torchvision_model(config, name),
    "timm:<name>": lambda config, name, _: image_encoders.timm_model(config, name),
    "sentence-transformers:<name or path>": text_encoders.sentence_transformers,
    hashed_words.HASHED_WORDS: lambda config, dim, _: hashed_words.hashed_words(config, dim),
}
"""By the form of the name. A form without a colon is the whole name; of the others the part before it is compared."""


def find_encoders(modality: str, config: ModalityConfig) -> list[EncoderSpec]:
    """What `config.encoder` may be, the one preferred here first: with `backend = "auto"` by OpenVINO and by torch.

    Nothing heavy is loaded before `load()`.

    Raises `FeatureError` for a name that is unknown, with the known ones.
    """
    return [_find(modality, replace(config, backend=backend)) for backend in _backends(config)]


def find_encoder(modality: str, config: ModalityConfig) -> EncoderSpec:
    """The first of `find_encoders`."""
    return _find(modality, replace(config, backend=_backends(config)[0]))


def _backends(config: ModalityConfig) -> list[Backend]:
    if config.backend != "auto":
        return [config.backend]
    if config.device.startswith("cuda"):
        return ["torch"]
    return ["torch", "openvino"] if config.device == "auto" and NVIDIA.exists() else ["openvino", "torch"]


def _find(modality: str, config: ModalityConfig) -> EncoderSpec:
    prefix, _, rest = config.encoder.partition(":")
    content: ContentKind = "image" if modality == "image" and not config.columns else "text"
    for form, make in ENCODERS.items():
        if config.encoder == form or (":" in form and prefix == form.partition(":")[0]):
            spec = make(config, rest, content)
            break
    else:
        raise FeatureError(
            f"modalities.{modality}.encoder = {config.encoder!r} is unknown; use {', '.join(ENCODERS)} or precomputed"
        )
    if spec.content == "text" and not config.columns:
        raise FeatureError(f'modalities.{modality}: a text encoder needs columns = ["…"]')
    return spec
