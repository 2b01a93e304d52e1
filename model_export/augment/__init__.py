"""Random distortion of training batches, so that what does not count is not learnt. One file a kind of item.

All draws come from torch's own generator, which `seed_everything` sets.
"""

from __future__ import annotations

import torch

Batch = dict[str, torch.Tensor]
"""What the encoder takes: graph input name -> (batch, ...)."""
