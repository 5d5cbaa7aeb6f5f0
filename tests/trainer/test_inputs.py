from __future__ import annotations

import torch

from trainer.inputs import Standardizer, geometry


def test_geometry_is_the_box_and_its_area():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.75, 0.75], [0.5, 0.5, 0.2, 0.9]]])
    assert geometry(boxes)[..., :4].equal(boxes)
    # A box that is turned inside out has no area.
    torch.testing.assert_close(geometry(boxes)[0, :, 4], torch.tensor([1.0, 0.125, 0.0]))


def test_standardised_regions(make_regions):
    regions = make_regions(3, 1, padding=1, rubbish=9.0)
    standardizer = Standardizer(size=6)
    used = regions.features[regions.mask]
    standardizer.set(used.mean(0), used.std(0, correction=0))
    result = standardizer(regions)
    found = result.features[regions.mask]
    torch.testing.assert_close(found.mean(0), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(6))
    assert result.features[~regions.mask].eq(0).all()
    assert result.boxes.equal(regions.boxes)


def test_a_channel_that_never_varies_gives_zero():
    standardizer = Standardizer(size=2)
    standardizer.set(torch.tensor([5.0, 0.0]), torch.tensor([0.0, 2.0]))
    assert standardizer.scale(torch.tensor([5.0, 4.0])).tolist() == [0.0, 2.0]


def test_the_statistics_are_saved_with_the_model():
    assert set(Standardizer(size=2).state_dict()) == {"mean", "deviation"}


def test_length_and_device(make_regions):
    regions = make_regions(3, 1)
    assert len(regions) == 2
    assert regions.to(torch.device("meta")).features.device.type == "meta"
