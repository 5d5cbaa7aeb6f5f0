"""Averages over boxes against torchvision's RoI-Align."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align as reference

from weaksup.detectors import roi_align


@pytest.mark.parametrize("shape", [(4, 52, 52), (3, 13, 20), (2, 1, 1), (5, 2, 7)])
def test_it_is_torchvisions_roi_align_averaged(shape):
    generator = np.random.default_rng(0)
    stride = 8
    height, width = shape[1] * stride, shape[2] * stride
    features = generator.standard_normal(shape).astype(np.float32)
    corners = generator.uniform(0, 1, (30, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    special = [[0, 0, width, height], [1, 1, 1.5, 1.2], [0, 0, 2, 2], [width - 1, 0, width, height]]
    boxes = np.concatenate([special, boxes]).astype(np.float32)
    expected = reference(
        torch.from_numpy(features)[None],
        [torch.from_numpy(boxes)],
        output_size=3,
        spatial_scale=1 / stride,
        sampling_ratio=0,
        aligned=True,
    ).mean(dim=(2, 3))
    got = roi_align.average(features, boxes, size=(height, width))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def test_maps_of_other_scales_and_no_boxes():
    maps = [np.ones((2, 4, 4), np.float32), np.full((3, 2, 2), 5, np.float32)]
    boxes = np.array([[0, 0, 32, 32], [3, 3, 9, 20]], np.float32)
    first, second = roi_align.average_maps(maps, boxes, size=(32, 32))
    np.testing.assert_allclose(first, np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_allclose(second, np.full((2, 3), 5), rtol=1e-6)
    assert roi_align.average(maps[0], boxes[:0], size=(32, 32)).shape == (0, 2)


def test_a_grid_is_a_map_with_its_channels_last():
    maps = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    boxes = np.array([[0, 0, 40, 32], [3, 3, 9, 20]], np.float32)
    grid = np.ascontiguousarray(maps.transpose(1, 2, 0))
    first, second = roi_align.average_maps([maps], boxes, size=(32, 40), grids=[grid])
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_every_row_of_weights_sums_to_one():
    low = np.array([0, 3, 40], np.float32)
    high = np.array([80, 3.1, 80], np.float32)
    weights = roi_align.axis_weights(low, high, cells=10, scale=1 / 8)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
