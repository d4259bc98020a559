"""A camera's side: hand an image to a station, get its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import httpx

from fedpatchcore.errors import StationError
from fedpatchcore.texts import one_line

__all__ = ["Client"]


class Client:
    """Talks to one station.

    Example:
        >>> station = Client("http://127.0.0.1:8070", key)          # doctest: +SKIP
        >>> told = station.inspect("part.png", product="plate")     # doctest: +SKIP
        >>> told["verdict"], told["score"], told["regions"]         # doctest: +SKIP
    """

    def __init__(self, url: str, key: str = "", *, seconds: float = 60.0, **how: Any) -> None:
        """``how``: further arguments of `httpx.Client`, as ``verify`` and ``cert``."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._session = httpx.Client(base_url=url, headers=headers, timeout=seconds, **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its connection."""
        self._session.close()

    def inspect(self, image: Path | str | bytes, product: str = "", name: str = "") -> dict:
        """The verdict of an image file, or of its bytes, as the station tells it.

        Raises:
            StationError: the station cannot be reached, refuses the image, or cannot judge it.
        """
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
        name = name or ("" if isinstance(image, bytes) else Path(image).name)
        try:
            asked = {"product": product, "name": name}
            answer = self._session.post("/v1/inspect", params=asked, content=data)
            told = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise StationError(f"the station does not answer: {one_line(error, 200)}") from None
        if not answer.is_success:
            raise StationError(f"the station: {one_line(told.get('error'), 300)}")
        return told
