"""How a configured name becomes an encoder."""

from collections.abc import Callable

from features import image_encoders, text_encoders
from features.encoder import ContentKind, EncoderSpec
from features.errors import FeatureError
from features.modality import ModalityConfig

Make = Callable[[ModalityConfig, str, ContentKind], EncoderSpec]
"""From the configuration, what follows the colon, and the content where the encoder takes either."""

ENCODERS: dict[str, Make] = {
    image_encoders.EFFICIENTNET_LITE0: lambda config, _, __: image_encoders.efficientnet_lite0(config),
    text_encoders.MINILM: lambda config, _, __: text_encoders.minilm(config),
    "torchvision:<model>@<weights>": lambda config, name, _: image_encoders.torchvision_model(config, name),
    "timm:<name>": lambda config, name, _: image_encoders.timm_model(config, name),
    "sentence-transformers:<name or path>": text_encoders.sentence_transformers,
}
"""By the form of the name. A form without a colon is the whole name; of the others the part before it is compared."""


def find_encoder(modality: str, config: ModalityConfig) -> EncoderSpec:
    """Resolve `config.encoder`; nothing heavy is loaded before `load()`.

    Raises `FeatureError` for a name that is unknown, with the known ones.
    """
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
