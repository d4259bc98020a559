"""The config of a small run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.config import RunConfig


@pytest.fixture
def config(
    tmp_path: Path, settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict]:
    """Makes a small run's config, in an environment that asks for nothing yet."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "PROMETHEUS_MULTIPROC_DIR", "FEDPATCHCORE_LOG"):
        monkeypatch.delenv(name, raising=False)

    def make(**overrides) -> dict:
        base = {"out_dir": str(tmp_path / "runs"), "run_name": "run", "wait_seconds": 1.0}
        return settings(**{**base, **overrides}).table()

    return make
