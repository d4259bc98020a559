"""Threads of a process that serves many runs."""

from __future__ import annotations

import os

import pytest
import torch

from fedpatchcore.site.setup import use_threads


@pytest.mark.usefixtures("one_thread")
def test_one_run_leaves_the_next_its_own_choice() -> None:
    """And no run takes more than there are cores."""
    use_threads(0)
    own = torch.get_num_threads()
    use_threads(1024)
    assert 1 <= torch.get_num_threads() <= (os.cpu_count() or 1)
    use_threads(1)
    assert torch.get_num_threads() == 1
    use_threads(0)
    assert torch.get_num_threads() == own
    use_threads(1)
