"""Test settings: one thread, so that numbers repeat and workers do not fight over cores; a cache of their own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("semilla", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("semilla")


@pytest.fixture(scope="session", autouse=True)
def not_the_users_cache(tmp_path_factory):
    """Nothing in these tests may read or fill the user's cache."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SEMILLA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
