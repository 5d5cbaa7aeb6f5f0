from __future__ import annotations

import torch


def test_contract(build, check_contract):
    check_contract(build("vse-infty"), build("vse-infty", seed=1))


def test_contract_after_training_steps_have_set_the_batch_statistics(
    build, check_contract, make_regions
):
    models = [build("vse-infty", seed=seed) for seed in (0, 1)]
    for seed, model in enumerate(models):
        model.train().encode_images(make_regions(4, 2, 3, seed=seed))
        assert model.mlp.norm.running_mean.ne(0).all()
        model.eval()
    check_contract(*models)


def test_padding_does_not_enter_the_batch_statistics(build, make_regions):
    means = []
    for padding in (0, 3):
        model = build("vse-infty", region_drop=0.0).train()
        model.encode_images(make_regions(4, 2, padding=padding, rubbish=9.0))
        means.append(model.mlp.norm.running_mean)
    torch.testing.assert_close(*means)


def test_in_training_regions_are_left_out_but_never_the_whole_image(build, make_regions):
    model = build("vse-infty", region_drop=0.9).train()
    regions = make_regions(*[4] * 50)
    mask = model.encode_images(regions).mask
    assert mask[:, 0].all()
    assert 0 < mask[:, 1:].float().mean() < 0.25
    assert model.eval().encode_images(regions).mask.equal(regions.mask)
