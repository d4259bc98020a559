"""How large a picture is, without decoding it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from fedpatchcore.data.decoding import guarded, orientation, require_file
from fedpatchcore.data.dicom import DICOM_HEAD, dicom_size, is_dicom

__all__ = ["image_size"]

TURNED = range(5, 9)  # EXIF orientations that lie on their side


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, upright, as the file's head says. Raises ImageError."""

    def head() -> tuple[int, int]:
        require_file(path)
        with open(path, "rb") as file:
            head = file.read(DICOM_HEAD)
            if is_dicom(head):
                return dicom_size(head + file.read())
            file.seek(0)
            with Image.open(file) as image:
                width, height = image.size
                return (height, width) if orientation(image) in TURNED else (width, height)

    return guarded(head, path)
