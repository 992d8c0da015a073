import io

import numpy as np
import pytest
from PIL import Image

from features import pictures as module
from features.pictures import UnreadableError, decode, decoded, require_readable
from features.pixels import PixelBudget


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GRADIENT = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_decode_any_mode_gives_rgb_of_the_same_size(mode):
    image = GRADIENT.convert("I").convert("I;16") if mode == "I;16" else GRADIENT.convert(mode)
    decoded = decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (decoded.mode, decoded.size) == ("RGB", (64, 48))


def test_decode_16_bit_grey_keeps_its_range():
    image = Image.fromarray(np.full((8, 8), 32_768, dtype=np.uint16))
    assert np.asarray(decode(encoded(image))).mean() == pytest.approx(128, abs=1)


def test_decode_transparency_becomes_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(decode(encoded(image))).min() == 255


def test_decode_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(GRADIENT, "JPEG", exif=exif)).size == (48, 64)


WHOLE = encoded(GRADIENT, "JPEG")


@pytest.mark.parametrize("payload", [b"", b"not a picture", WHOLE[: len(WHOLE) // 2], encoded(GRADIENT)[:60]])
def test_decode_broken_file_is_unreadable(payload):
    with pytest.raises(UnreadableError):
        decode(payload)


def test_decode_unknown_kind_is_said_in_the_same_words_each_time():
    """Parts hold the words, and are the same bytes whoever writes them."""
    for payload in (b"<html>", b""):
        with pytest.raises(UnreadableError, match=r"^no picture of any known kind$"):
            decode(payload)


def test_decode_more_pixels_than_allowed_is_unreadable():
    assert decode(encoded(GRADIENT), max_pixels=64 * 48).size == (64, 48)
    with pytest.raises(UnreadableError, match="64 x 48 pixels are too many"):
        decode(encoded(GRADIENT), max_pixels=64 * 48 - 1)


class Recording(PixelBudget):
    def __init__(self):
        super().__init__(1 << 30)
        self.asked = []

    def holding(self, pixels):
        self.asked.append(pixels)
        return super().holding(pixels)


@pytest.mark.parametrize("progressive", [True, False])
def test_pixels_of_a_progressive_jpeg_count_whole_though_it_is_drafted(monkeypatch, progressive):
    """Its coefficients are all in memory; a baseline JPEG is decoded at a fraction."""
    budget = Recording()
    monkeypatch.setattr(module, "PIXELS_IN_FLIGHT", budget)
    payload = encoded(Image.new("RGB", (2048, 1024)), "JPEG", progressive=progressive)
    require_readable(payload)
    with decoded(payload, at_least=(200, 200)) as image:
        assert image.size == (512, 256)
    assert budget.asked == [2048 * 1024 if progressive else 512 * 256] * 2


def test_decode_shrinks_what_has_more_pixels_than_are_kept():
    image = decode(encoded(GRADIENT), at_most=64 * 48 // 4)
    assert image.size == (32, 24)
    np.testing.assert_allclose(np.asarray(image)[0, 2:-2, 0], np.arange(32)[2:-2] * 8 + 2, atol=1)
    assert decode(encoded(GRADIENT), at_most=64 * 48).size == (64, 48)
