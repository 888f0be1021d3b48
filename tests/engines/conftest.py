"""One thread for torch: tiny tensors gain nothing from more, and on busy machines its threads wait for each other."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
