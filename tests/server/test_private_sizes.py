"""Private training at a site whose pictures differ in shape: their grids differ with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.server.test_private_training import STUDENT, sent

pytestmark = pytest.mark.usefixtures("one_thread")


def test_pictures_of_several_shapes_teach_in_private(ask, table, nodes, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(nodes[11]["data"], folder)
    for path in sorted((folder / "plate" / "train" / "good").iterdir())[:2]:
        with Image.open(path) as picture:
            wide = picture.resize((2 * picture.width, picture.height))
        wide.save(path)
    node = {**nodes[11], "data": str(folder)}
    reply = ask("train", table(**{**STUDENT, "geometry": "whole"}), node=node)
    assert "failure" not in reply.texts
    learned = [one for name, one in sent(reply).items() if name not in ("facts", "layout")]
    assert learned and all(np.isfinite(one).all() and one.any() for one in learned)
