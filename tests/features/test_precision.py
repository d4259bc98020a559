"""bfloat16 on a processor: what it changes, and who is told that it is slow."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.deploy.doctor.device import gpu
from fedpatchcore.devices import halves
from fedpatchcore.features.backbone import build_backbone
from tests.support.products import picture

X86 = "processor : 0\nmodel name : a bf16 name\nflags\t\t: fpu avx2 {}\n\nprocessor : 1\n"
ARM = "processor : 0\nFeatures\t: fp asimd {}\n"


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make this machine's processor one with these words in /proc/cpuinfo."""

    def told(text: str) -> None:
        (tmp_path / f"cpuinfo{hash(text)}").write_text(text)
        monkeypatch.setattr(halves, "CPUINFO", tmp_path / f"cpuinfo{hash(text)}")

    return told


@pytest.mark.parametrize(
    ("text", "there"),
    [
        (X86.format(""), False),
        (X86.format("avx512f avx512_bf16"), True),
        (X86.format("amx_bf16"), True),
        (ARM.format("asimdhp"), False),
        (ARM.format("bf16"), True),
        ("", False),
    ],
)
def test_who_has_bfloat16(text: str, there: bool, processor) -> None:
    processor(text)
    assert halves.native_half("bfloat16") == there
    assert halves.native_half("float16") == ("asimdhp" in text)


def test_a_system_without_that_file_has_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(halves, "CPUINFO", tmp_path / "nowhere")
    assert not halves.native_half("bfloat16")


def test_a_slow_half_is_said_and_a_native_one_is_not(processor, settings, caplog) -> None:
    config = settings(precision="bfloat16")
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        processor(X86.format("amx_bf16"))
        build_backbone(config)
        assert not caplog.messages
        assert gpu("cpu", "bfloat16").state == "ok"
        processor(X86.format(""))
        build_backbone(config)
        build_backbone(settings())
    (line,) = caplog.messages
    assert "no bfloat16 instructions" in line and "several times slower" in line
    assert gpu("cpu", "bfloat16").state == "warn"


def test_bfloat16_is_near_float32_and_not_it(settings) -> None:
    """Unit vectors: within a few roundings of 2⁻⁹, and no fingerprint of float32's."""
    ways = [build_backbone(settings(precision=p)) for p in ("float32", "bfloat16")]
    exact, half = (one.extract([picture(s) for s in range(3)]) for one in ways)
    apart = np.linalg.norm(exact - half, axis=-1)
    assert 1e-5 < apart.max() < 0.03
    found = ways[0].fingerprint.differences(ways[1].fingerprint)
    assert found == ["precision: float32 ≠ bfloat16"]
