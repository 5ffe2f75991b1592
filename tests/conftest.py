"""Test settings: one thread, so that numbers repeat and parallel workers do not fight over cores."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("semilla", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("semilla")
