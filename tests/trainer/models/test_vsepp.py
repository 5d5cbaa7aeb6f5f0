from __future__ import annotations

import torch


def test_contract(build, check_contract):
    check_contract(build("vsepp"), build("vsepp", seed=1))


def test_an_image_is_the_mean_of_its_regions_and_boxes_play_no_part(build, make_regions):
    model, regions = build("vsepp"), make_regions(3)
    features = model.standardizer.scale(regions.features)
    expected = torch.nn.functional.normalize(model.regions.linear(features).mean(1), dim=-1)
    torch.testing.assert_close(model.encode_images(regions).pooled, expected)
    regions.boxes.zero_()
    torch.testing.assert_close(model.encode_images(regions).pooled, expected)


def test_a_sentence_is_the_last_state(build, sentences):
    model = build("vsepp")
    found = model.encode_texts(sentences)
    ids = sentences.ids[2:3, :3]
    last = model.text.gru(model.text.words(ids))[1][0, 0]
    torch.testing.assert_close(found.pooled[2], torch.nn.functional.normalize(last, dim=0))
    assert found.weights.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
