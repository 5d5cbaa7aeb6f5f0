"""What Hugging Face's detectors find in a batch, before anything is chosen.

Three kinds of networks behind one protocol: decoders with a fixed set of classes (DETR and its
kin), decoders that read a text (Grounding DINO), and image patches that are compared with texts
(OWL-ViT). A whole image has no query of its own: its feature is the mean, over the picture and
not over its padding, of the map that the boxes are made from.

Letters: B images of a batch, H and W rows and columns of one image, Q queries or patches of one
image, K candidates of one image, S positions of the encoder's map, C classes or names, D feature
width, L tokens of a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from weaksup.detectors.torchvision import NAMELESS
from weaksup.errors import DataError, UsageError
from weaksup.types import UInt8

# Of the pairs of query and class, so many of an image are looked at: more than any `--max-regions`.
PAIRS = 2000
# Patches do not know of one another: neighbours find the same thing. Decoders' queries do know.
PATCH_NMS = 0.5
PATCH_PROMPT = "a photo of a {}"

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Candidates:
    """What a network says of a batch.

    Attributes:
        boxes: (B, K, 4) float32, x1 y1 x2 y2 as fractions of the picture; may reach out of it.
        scores: (B, K) float32 in [0, 1].
        labels: (B, K) int64, rows of ``Network.objects``, -1 for a class that names nothing.
        queries: (B, K) int64, rows of ``features``.
        features: (B, Q, D) float32; D is 0 for a network without features.
        whole: (B, D) float32, of the whole images.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    queries: Tensor
    features: Tensor
    whole: Tensor


class Network(Protocol):
    """A network with its preparation of pictures."""

    @property
    def objects(self) -> Sequence[str]:
        """What it can name."""

    @property
    def feature_size(self) -> int:
        """D; 0 without features."""

    @property
    def nms_threshold(self) -> float | None:
        """For suppression within each label; None for a network that needs none."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What belongs to the provenance: JSON-compatible."""

    def prepare(self, pictures: Sequence[UInt8]) -> Inputs:
        """Resized, normalised and padded pictures from (H, W, 3) uint8, RGB."""

    def find(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Run the network.

        Args:
            inputs: of ``prepare``.
            sizes: height and width of the B pictures that ``prepare`` was given.
        """


class QueryNetwork:
    """DETR and its kin: queries with classes, the decoder's last states as features.

    Candidates are those of the package's own post-processing: for ``detr`` the best class of each
    query, for the others all pairs of query and class.

    Args:
        model: a ``...ForObjectDetection`` with a decoder, on its device.
        processor: its image processor.
        labels: C names; ``NAMELESS`` classes are never reported.
        softmax: whether a class for "no object" is the last of C + 1, as in ``detr``.
        with_features: False leaves the features out.

    Raises:
        ValueError: if the number of labels is not the model's number of classes.
    """

    nms_threshold = None

    def __init__(
        self,
        *,
        model: Any,
        processor: Any,
        labels: Sequence[str],
        softmax: bool,
        with_features: bool = True,
    ) -> None:
        if len(labels) != model.config.num_labels:
            raise ValueError(f"{len(labels)} labels for {model.config.num_labels} classes")
        self._model, self._processor, self._softmax = model, processor, softmax
        named = [row for row, label in enumerate(labels) if label not in NAMELESS]
        self.objects = tuple(labels[row] for row in named)
        # Class of the model -> row of `objects`, -1 for none.
        self._rows = torch.full((len(labels),), -1, device=model.device)
        self._rows[named] = torch.arange(len(named), device=model.device)
        self.feature_size = int(model.config.d_model) if with_features else 0
        self._map = _DecodersMap(model) if with_features else None
        self.settings = {"features": "decoder queries" if with_features else "none"}

    def prepare(self, pictures: Sequence[UInt8]) -> Inputs:
        return _prepare(self._processor, pictures, device=self._model.device)

    def find(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        outputs = self._model(**inputs)
        choose = self._best_classes if self._softmax else self._pairs
        scores, labels, queries = choose(outputs.logits.float())
        boxes = _corners(outputs.pred_boxes.float())
        states = outputs.last_hidden_state.float()
        return Candidates(
            boxes=boxes.gather(1, queries[..., None].expand(-1, -1, 4)),
            scores=scores,
            labels=labels,
            queries=queries,
            features=states if self._map else states[..., :0],
            whole=self._map.take_mean() if self._map else states[:, 0, :0],
        )

    def _best_classes(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, best = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        queries = torch.arange(scores.shape[1], device=scores.device).expand_as(best)
        return scores, self._rows[best], queries

    def _pairs(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = logits[..., self._rows >= 0].sigmoid()
        count = scores.shape[-1]
        scores, index = scores.flatten(1).topk(min(PAIRS, scores[0].numel()), dim=1)
        return scores, index % count, index // count


class GroundingNetwork:
    """Grounding DINO: the names are its text, the decoder's last states its features.

    Each query gets one name: the one whose tokens have the highest mean probability, as in the
    authors' evaluation on COCO (Liu et al., ECCV 2024); that mean is the score. Names of more
    tokens than one text can have are spread over several, each of which costs a whole pass. The
    feature of the whole image is then the mean over the passes.

    Args:
        model: a ``GroundingDinoForObjectDetection`` or its MM variant, on its device.
        processor: its image processor.
        tokenizer: its tokenizer.
        names: what to look for.
        with_features: False leaves the features out.

    Raises:
        DataError: if the tokenizer makes nothing of a name, or more than one text can hold.
    """

    nms_threshold = None

    def __init__(
        self,
        *,
        model: Any,
        processor: Any,
        tokenizer: Any,
        names: Sequence[str],
        with_features: bool = True,
    ) -> None:
        self._model, self._processor = model, processor
        self.objects = tuple(names)
        self._texts = grounding_texts(tokenizer, names, longest=int(model.config.max_text_len))
        self.feature_size = int(model.config.d_model) if with_features else 0
        self._map = _DecodersMap(model) if with_features else None
        self.settings = {"features": "decoder queries" if with_features else "none"}

    def prepare(self, pictures: Sequence[UInt8]) -> Inputs:
        return _prepare(self._processor, pictures, device=self._model.device)

    def find(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        passes, first = [], 0
        for text in self._texts:
            passes.append(self._read(inputs, text, first=first))
            first += len(text.spans)
        scores, labels, boxes, states, wholes = zip(*passes, strict=True)
        together = torch.cat(scores, dim=1)
        queries = torch.arange(together.shape[1], device=together.device)
        return Candidates(
            boxes=torch.cat(boxes, dim=1),
            scores=together,
            labels=torch.cat(labels, dim=1),
            queries=queries.expand_as(together),
            features=torch.cat(states, dim=1),
            whole=torch.stack(wholes).mean(dim=0),
        )

    def _read(
        self, inputs: Inputs, text: GroundingText, *, first: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores, labels, boxes, states (B, Q, ...) and the whole images (B, D) of one text."""
        batch = len(inputs["pixel_values"])
        device = self._model.device
        tokens = torch.tensor(text.tokens, device=device).expand(batch, -1)
        outputs = self._model(
            **inputs,
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            token_type_ids=torch.zeros_like(tokens),
            return_dict=True,
        )
        weights = torch.zeros(len(text.tokens), len(text.spans), device=device)
        for column, (begin, end) in enumerate(text.spans):
            weights[begin:end, column] = 1 / (end - begin)
        probabilities = outputs.logits.float().sigmoid()[..., : len(text.tokens)]
        # Sums of a few numbers: not to be rounded as the network's products are.
        with torch.autocast(device.type, enabled=False):
            scores, best = (probabilities @ weights).max(dim=-1)
        states = outputs.last_hidden_state.float()
        return (
            scores,
            best + first,
            _corners(outputs.pred_boxes.float()),
            states if self._map else states[..., :0],
            self._map.take_mean() if self._map else states[:, 0, :0],
        )


@dataclass(frozen=True)
class GroundingText:
    """Names as one text.

    Attributes:
        tokens: L ids: a beginning, every name with a dot after it, an end.
        spans: for each name where its tokens begin and end.
    """

    tokens: list[int]
    spans: list[tuple[int, int]]


def grounding_texts(
    tokenizer: Any, names: Sequence[str], *, longest: int
) -> tuple[GroundingText, ...]:
    """Names as texts of at most ``longest`` tokens, as few texts as their order allows.

    Raises:
        DataError: if the tokenizer makes nothing of a name, or more than one text can hold.
    """

    def tokens_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    dot = tokens_of(".")
    texts: list[GroundingText] = []
    for name in names:
        # A dot ends a name, and the published models have read lower case alone.
        tokens = tokens_of(spoken(name).replace(".", " ").lower())
        if not tokens or len(tokens) + len(dot) + 2 > longest:
            raise DataError(
                f"'{name}' is {len(tokens)} tokens for the network's text, which holds 1 to "
                f"{longest - len(dot) - 2}",
                "give it another name",
            )
        if not texts or len(texts[-1].tokens) + len(tokens) + len(dot) + 1 > longest:
            texts.append(GroundingText([tokenizer.cls_token_id], []))
        text = texts[-1]
        text.spans.append((len(text.tokens), len(text.tokens) + len(tokens)))
        text.tokens.extend([*tokens, *dot])
    for text in texts:
        text.tokens.append(tokenizer.sep_token_id)
    return tuple(texts)


class PatchNetwork:
    """OWL-ViT and OWLv2: image patches that are compared with texts.

    Each patch gets the name that is most like it. Features are the patch embeddings that both its
    box and its name are computed from. The texts are encoded once.

    Args:
        model: an ``OwlViTForObjectDetection`` or ``Owlv2ForObjectDetection``, on its device.
        processor: its image processor.
        tokenizer: its tokenizer.
        names: what to look for.
        square: whether the processor pads pictures to squares, as OWLv2's does.
        with_features: False leaves the features out.

    Raises:
        UsageError: if pictures and the network differ in size.
    """

    nms_threshold = PATCH_NMS

    def __init__(
        self,
        *,
        model: Any,
        processor: Any,
        tokenizer: Any,
        names: Sequence[str],
        square: bool,
        with_features: bool = True,
    ) -> None:
        self._model, self._processor, self._square = model, processor, square
        self.objects = tuple(names)
        self.feature_size = int(model.config.vision_config.hidden_size) if with_features else 0
        self.settings = {
            "features": "patch embeddings" if with_features else "none",
            "prompts": [PATCH_PROMPT.format(spoken(name)) for name in names],
        }
        self._embeddings = self._encode(tokenizer, self.settings["prompts"])

    def prepare(self, pictures: Sequence[UInt8]) -> Inputs:
        return _prepare(self._processor, pictures, device=self._model.device)

    def find(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> Candidates:
        patches = self._model.image_embedder(inputs["pixel_values"])[0]
        rows = patches.flatten(1, 2)
        texts = self._embeddings.expand(len(rows), -1, -1)
        logits, _ = self._model.class_predictor(rows, texts)
        # The best first: probabilities near 1 are equal where logits are not.
        best, labels = logits.float().max(dim=-1)
        scores = best.sigmoid()
        boxes = _corners(self._model.box_predictor(rows, patches).float())
        shares = torch.tensor([self._share(size) for size in sizes], device=rows.device)
        states = patches.float()
        return Candidates(
            boxes=boxes / shares.repeat(1, 2)[:, None],
            scores=scores,
            labels=labels,
            queries=torch.arange(scores.shape[1], device=rows.device).expand_as(labels),
            features=states.flatten(1, 2)[..., : self.feature_size],
            whole=_mean_within(states, shares)[..., : self.feature_size],
        )

    def _share(self, size: tuple[int, int]) -> tuple[float, float]:
        """Which part of the input's width and height the picture covers, from the left and top."""
        height, width = size if self._square else (1, 1)
        side = max(height, width)
        return width / side, height / side

    @torch.inference_mode()
    def _encode(self, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
        """Embeddings (1, C, text width), from a pass over a grey picture."""
        device = self._model.device
        # Every name, not the longest alone, is cut and padded to what the network was trained on.
        texts = tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        grey = np.full((32, 32, 3), 127, np.uint8)
        inputs = self.prepare([grey])
        side = self._model.config.vision_config.image_size
        if tuple(inputs["pixel_values"].shape[-2:]) != (side, side):
            raise UsageError(
                f"the image processor makes pictures of {tuple(inputs['pixel_values'].shape[-2:])} "
                f"pixels, and the network reads {(side, side)}",
                "mend `size` in preprocessor_config.json",
            )
        embeddings: Tensor = self._model(
            input_ids=texts["input_ids"].to(device),
            attention_mask=texts["attention_mask"].to(device),
            return_dict=True,
            **inputs,
        ).text_embeds
        return embeddings


def spoken(name: str) -> str:
    """A label as a text says it: the first of alternatives ("hot dog,hotdog"), no underscores."""
    return " ".join(name.split(",")[0].replace("_", " ").split())


class _DecodersMap:
    """What a decoder looks at: the encoder's map, in the decoder's width, and where it is padding.

    A model's outputs hold the map only for some kinds, in other widths for others, and never the
    mask. The decoder is called with both.
    """

    def __init__(self, model: Any) -> None:
        self._seen: tuple[Tensor, Tensor | None] | None = None
        model.model.decoder.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, module: Any, args: Any, arguments: Mapping[str, Any]) -> None:
        prefix = "vision_" if "vision_encoder_hidden_states" in arguments else ""
        states = arguments[f"{prefix}encoder_hidden_states"]
        self._seen = states, arguments.get(f"{prefix}encoder_attention_mask")

    def take_mean(self) -> Tensor:
        """(B, D) float32: the mean over the positions that are picture, of the latest pass."""
        assert self._seen is not None
        states, mask = self._seen
        self._seen = None  # a map is large: it is not kept until the next pass
        if mask is None:
            return states.float().mean(dim=1)
        weights = mask.float()[..., None]
        return (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _mean_within(patches: Tensor, shares: Tensor) -> Tensor:
    """The mean (B, D) of the patches (B, rows, columns, D) whose centres lie in the pictures."""
    rows, columns = patches.shape[1:3]
    right = (torch.arange(columns, device=patches.device) + 0.5) / columns < shares[:, :1]
    down = (torch.arange(rows, device=patches.device) + 0.5) / rows < shares[:, 1:]
    right[:, 0] = down[:, 0] = True  # of a strip thinner than half a patch
    weights = (down[:, :, None] & right[:, None, :]).float()[..., None]
    return (patches * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def _prepare(processor: Any, pictures: Sequence[UInt8], *, device: torch.device) -> Inputs:
    # Said, not guessed: a picture of three rows looks like one of three channels.
    # Copies: decoders hand out arrays that torch must not write to.
    prepared = processor(
        images=[np.array(pixels) for pixels in pictures],
        return_tensors="pt",
        input_data_format="channels_last",
    )
    names = ("pixel_values", "pixel_mask")
    return {name: prepared[name].to(device) for name in names if name in prepared}


def _corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) from centre, width and height to x1 y1 x2 y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)
