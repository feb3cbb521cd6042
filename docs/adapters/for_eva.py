"""eva (kaiko-eva): an exported folder as the backbone of its benchmarks.

In a configuration of eva's offline evaluation (with PYTHONPATH=docs/adapters):

    backbone:
      class_path: eva.core.models.wrappers.ModelFromFunction
      init_args:
        path: for_eva.backbone
        arguments:
          folder: /data/encoder

and for the images of its data sets, in place of eva's own `transforms`:

    transforms:
      class_path: for_eva.Transform
      init_args:
        folder: /data/encoder
"""

import numpy as np
import torch
from folder_encoder import load
from PIL import Image


def backbone(folder: str) -> torch.nn.Module:
    """(N, 3, px, px), normalized → (N, D)."""
    return load(folder)[0]


class Transform:
    """Image → (3, px, px) as the encoder expects it.

    Args:
      folder: of the export.
    """

    def __init__(self, folder: str):
        self._transform = load(folder)[1]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Args: image: (3, H, W) uint8, which eva's data sets give."""
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        return self._transform(Image.fromarray(pixels))
