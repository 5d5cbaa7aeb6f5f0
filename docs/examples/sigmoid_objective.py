"""A loss: every pair of a batch judged by itself (SigLIP: Zhai et al., ICCV 2023)."""

import torch
import torch.nn.functional as F

from trainer.objectives import Losses, Objective


class SigmoidObjective(Objective):
    def __init__(self, *, scale: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        # Parameters of an objective are trained with the model's, and saved to resume.
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.bias = torch.nn.Parameter(torch.tensor(bias))

    def forward(self, model, batch, progress):
        images = model.encode_images(batch.regions)
        texts = model.encode_texts(batch.captions)
        logits = self.scale * model.similarity(images, texts) + self.bias
        # Positives by image, never a diagonal: a batch may hold two captions of one image.
        same = batch.image.unsqueeze(1) == batch.image
        sign = 2 * same.float() - 1
        return Losses({"sigmoid": -F.logsigmoid(sign * logits).sum(1).mean()})
