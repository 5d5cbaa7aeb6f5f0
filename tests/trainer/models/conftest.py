"""What every retrieval model must hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainer.build import Sizes, build_model
from trainer.checkpoint import load_weights, save_weights
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.text import TokenBatch

WORDS = 9
SOURCES = (3, 2)


@pytest.fixture
def build(tiny) -> Callable[..., EmbeddingModel]:
    """A model in evaluation mode whose parameters and buffers are all random."""

    def make(model: str, *, seed: int = 0, **settings) -> EmbeddingModel:
        torch.manual_seed(seed)
        sizes = Sizes(features=6, words=WORDS, sources=SOURCES)
        built = build_model(tiny(model, **settings), sizes)
        for part in built.modules():
            if isinstance(part, Standardizer):
                size = len(part.mean)
                part.set(torch.randn(size), torch.rand(size) + 0.5)
        for name, buffer in built.named_buffers():
            # What only a fit sets.
            if name.endswith(("image_map", "text_map", "text_mean")):
                buffer.normal_(std=0.1)
            elif name.endswith("projection"):
                buffer.fill_diagonal_(1)
            elif name.endswith("meant"):
                buffer.bernoulli_(0.5)
        return built.eval()

    return make


@pytest.fixture
def check_contract(make_regions, sentences, grow_tokens, tmp_path) -> Callable[..., None]:
    """Unit length, padding and order that change nothing, weights that sum to one, saving."""

    def check(model: EmbeddingModel, other: EmbeddingModel) -> None:
        regions, tokens = make_regions(3, 1, 4, 2), sentences
        with torch.no_grad():
            images, texts = model.encode_images(regions), model.encode_texts(tokens)
            for found, mask in ((images, regions.mask), (texts, tokens.mask)):
                torch.testing.assert_close(found.pooled.norm(dim=1), torch.ones(4))
                torch.testing.assert_close((found.weights * mask).sum(1), torch.ones(4))
                assert found.mask.equal(mask)
                assert found.fragments.shape[:2] == mask.shape
            _check_padding(model, make_regions, grow_tokens(tokens, 3), images, texts)
            _check_order(model, regions, tokens, images.pooled, texts.pooled)
            path = tmp_path / "model.safetensors"
            save_weights(path, model)
            assert not torch.equal(other.encode_images(regions).pooled, images.pooled)
            load_weights(path, other)
            assert torch.equal(other.encode_images(regions).pooled, images.pooled)
            assert torch.equal(other.encode_texts(tokens).pooled, texts.pooled)

    return check


def _check_padding(model, make_regions, tokens: TokenBatch, images, texts) -> None:
    padded = make_regions(3, 1, 4, 2, padding=3, rubbish=7.0)
    torch.testing.assert_close(model.encode_images(padded).pooled, images.pooled)
    torch.testing.assert_close(model.encode_texts(tokens).pooled, texts.pooled)


def _check_order(model, regions: RegionInputs, tokens: TokenBatch, images, texts) -> None:
    order = torch.tensor([2, 0, 3, 1])
    moved = RegionInputs(regions.features[order], regions.boxes[order], regions.mask[order])
    torch.testing.assert_close(model.encode_images(moved).pooled, images[order])
    shuffled = TokenBatch(tokens.ids[order], tokens.lengths[order])
    torch.testing.assert_close(model.encode_texts(shuffled).pooled, texts[order])
