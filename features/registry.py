"""How a configured name becomes an encoder."""

from features import image_encoders, text_encoders
from features.encoder import ContentKind, EncoderSpec
from features.errors import FeatureError
from features.modality import ModalityConfig


def find_encoder(modality: str, config: ModalityConfig) -> EncoderSpec:
    """Resolve `config.encoder`; nothing heavy is loaded before `load()`.

    Raises `FeatureError` for a name that is unknown, with the known ones.
    """
    name, _, rest = config.encoder.partition(":")
    if name == "sentence-transformers":
        content: ContentKind = "image" if modality == "image" and not config.columns else "text"
        spec = text_encoders.sentence_transformers(config, rest, content)
    elif config.encoder == text_encoders.MINILM:
        spec = text_encoders.minilm(config)
    elif config.encoder == image_encoders.EFFICIENTNET_LITE0:
        spec = image_encoders.efficientnet_lite0(config)
    elif name == "torchvision":
        spec = image_encoders.torchvision_model(config, rest)
    elif name == "timm":
        spec = image_encoders.timm_model(config, rest)
    else:
        raise FeatureError(
            f"modalities.{modality}.encoder = {config.encoder!r} is unknown; use {image_encoders.EFFICIENTNET_LITE0}, "
            f"{text_encoders.MINILM}, torchvision:<model>@<weights>, timm:<name>, sentence-transformers:<name or path> "
            "or precomputed"
        )
    if spec.content == "text" and not config.columns:
        raise FeatureError(f'modalities.{modality}: a text encoder needs columns = ["…"]')
    return spec
