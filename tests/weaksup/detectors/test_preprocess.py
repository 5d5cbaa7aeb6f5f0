"""What a network reads, against arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from weaksup.detectors.preprocess import BGR, LETTERBOX, Recipe, network_input, zoom


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_channels_scale_mean_and_std():
    pixels = picture(4, 4)
    recipe = Recipe(
        size=(4, 4), channels=BGR, scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)
    )
    got = network_input(pixels, recipe)
    expected = (pixels[:, :, ::-1] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    assert got.shape == (1, 3, 4, 4)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0].transpose(1, 2, 0), expected, atol=1e-5)


def test_without_normalisation_pixels_pass_unchanged():
    pixels = picture(5, 5)
    got = network_input(pixels, Recipe(size=(5, 5)))
    assert (got[0].transpose(1, 2, 0) == pixels).all()


@pytest.mark.parametrize(
    ("height", "width", "inside"), [(20, 40, (32, 64)), (40, 20, (64, 32)), (1, 500, (1, 64))]
)
def test_letterbox_pads_right_and_below(height, width, inside):
    recipe = Recipe(size=(64, 64), resize=LETTERBOX, pad=7)
    got = network_input(np.full((height, width, 3), 200, np.uint8), recipe)[0]
    assert (got[:, : inside[0], : inside[1]] == 200).all()
    assert (got[:, inside[0] :] == 7).all()
    assert (got[:, :, inside[1] :] == 7).all()
    assert zoom(recipe, size=(height, width)) == (inside[1] / width, inside[0] / height)


def test_stretch_fills_the_input():
    recipe = Recipe(size=(64, 32))
    assert (network_input(np.full((10, 90, 3), 9, np.uint8), recipe) == 9).all()
    assert zoom(recipe, size=(10, 90)) == (32 / 90, 6.4)


@pytest.mark.parametrize(("height", "width"), [(20, 40), (64, 32), (301, 500), (1500, 900)])
def test_resizing_is_pillows(height, width):
    pixels = picture(height, width)
    got = network_input(pixels, Recipe(size=(64, 48)))[0].transpose(1, 2, 0)
    resized = Pillow.fromarray(pixels).resize((48, 64), Pillow.Resampling.BILINEAR)
    # Fixed-point rounding may differ by a grey level.
    np.testing.assert_allclose(got, np.asarray(resized), atol=1)
