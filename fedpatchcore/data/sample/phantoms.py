"""Phantoms: axial slices of a head that nobody has, as three hospitals' scanners would show it.

Ellipses in Hounsfield units: skull, brain, the two ventricles, the falx between the halves, and
tissue that varies a little from head to head. A hospital has its scanner: field of view, kernel
(how sharp), noise, calibration, how the head lies, a head holder. As with the parts of
`fedpatchcore.data.sample`, a hospital's training scans show its own scanner alone, and every fifth
test scan is of a head scanned at another one: normal there, unknown here. It is designed so, to
show what a federation is for. **It is a drawing. It is no anatomy and no evidence for any scanner,
hospital or disease.**

Layout, as MVTec AD::

    <root>/phantoms.json                                   parameters; written last
    <root>/hospital-a/head/train/good/000.dcm              256x256, 12 bits, of a made-up patient
    <root>/hospital-a/head/test/bleed/000.dcm
    <root>/hospital-a/head/ground_truth/bleed/000_mask.png
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.dicom import Scan
from fedpatchcore.data.dicom_plain import written
from fedpatchcore.data.sample.raster import COLS, ROWS, SIZE, noise_window, soft
from fedpatchcore.errors import DataError

__all__ = ["FINDINGS", "HEAD", "HOSPITALS", "PATIENT", "phantom", "write_phantoms"]

HEAD = "head"
FINDINGS = ("bleed", "lesion", "shift")
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
PATIENT = "PHANTOM^NOBODY"
"""Stands in every file as the patient's name and number; nowhere else."""

AIR, SKIN, BONE, BRAIN, FLUID, FALX, BLEED, LESION = -1000, 20, 900, 34, 6, 46, 68, 14
CHANGED = 4.0  # Hounsfield units that count as a finding, before noise
FOREIGN_EVERY = 5
MANIFEST = "phantoms.json"
TRAIN, GOOD, FOUND = range(3)


@dataclass(frozen=True)
class Scanner:
    """One hospital's; lengths in pixels.

    Attributes:
        kernel: how far a point spreads, standard deviation.
        noise: standard deviation, Hounsfield units.
        shift: that tissue is measured too high by, Hounsfield units.
        scale: pixels to a pixel of the first hospital.
        turn: how the head lies, radians.
        holder: the head rests in a bowl that the slice shows.
    """

    kernel: float
    noise: float
    shift: float
    scale: float
    turn: float
    holder: bool


SCANNERS = (
    Scanner(0.9, 5.0, 0.0, 1.00, 0.00, False),
    Scanner(0.5, 9.0, 5.0, 0.92, 0.10, True),
    Scanner(1.4, 4.0, -4.0, 1.08, -0.08, False),
)


def _inside(x: np.ndarray, y: np.ndarray, wide: float, tall: float) -> np.ndarray:
    """Inside of an ellipse about the middle, with a soft edge: float32 ``[H, W]``, 0 to 1."""
    away = np.sqrt((x / wide) ** 2 + (y / tall) ** 2)
    return soft((1 - away) * min(wide, tall))


def _paint(head: np.ndarray, value: float, where: np.ndarray) -> None:
    head += where * (np.float32(value) - head)


def _drawn(
    scanner: Scanner, rng: np.random.Generator, finding: str | None, chance: np.random.Generator
) -> np.ndarray:
    """A head without noise, float32 ``[256, 256]`` in Hounsfield units."""
    turn = scanner.turn + rng.normal(0, 0.03)
    scale = scanner.scale * (1 + rng.normal(0, 0.015))
    down, right = rng.normal(0, 1.5, 2)
    wide, tall = 78 * (1 + rng.normal(0, 0.015)), 100 * (1 + rng.normal(0, 0.015))
    room = 1 + rng.normal(0, 0.08)
    x = (math.cos(turn) * (COLS - right) + math.sin(turn) * (ROWS - down)) / scale
    y = (-math.sin(turn) * (COLS - right) + math.cos(turn) * (ROWS - down)) / scale
    head = np.full((SIZE, SIZE), AIR, np.float32)
    if scanner.holder:
        bowl = _inside(x, y - 8, wide + 22, tall + 18) - _inside(x, y - 8, wide + 18, tall + 14)
        _paint(head, -300, np.clip(bowl, 0, 1) * soft(y - 20))
    _paint(head, SKIN, _inside(x, y, wide + 10, tall + 10))
    _paint(head, BONE, _inside(x, y, wide + 5, tall + 5))
    _paint(head, BRAIN, _inside(x, y, wide - 2, tall - 2))
    brain = _inside(x, y, wide - 4, tall - 4)
    head += brain * (3.0 * noise_window(rng, 5.0) + 1.5 * noise_window(rng, 2.0))
    aside = chance.uniform(7, 11) * (1 if chance.random() < 0.5 else -1)
    bent = aside * np.exp(-((y / 45) ** 2)) if finding == "shift" else 0.0
    _paint(head, FALX, soft(1.2 - np.abs(x - bent)) * brain)
    for side in (-1, 1):
        along = y + 6
        across = x - bent - side * (11 + 0.12 * np.abs(along))
        _paint(head, FLUID, _inside(across, along, 6.5 * room, 27 * room))
    if finding in ("bleed", "lesion"):
        where, far = chance.uniform(0, 2 * math.pi), chance.uniform(0.45, 0.72)
        middle = far * (wide - 8) * math.cos(where), far * (tall - 8) * math.sin(where)
        size = chance.uniform(7, 12) if finding == "bleed" else chance.uniform(9, 14)
        rough = 1.5 * noise_window(chance, 6.0)
        spot = np.sqrt((x - middle[0]) ** 2 + ((y - middle[1]) / 0.8) ** 2)
        alpha = np.clip((size + rough - spot) / 3, 0, 1) * brain
        _paint(head, BLEED if finding == "bleed" else LESION, alpha)
    return head


def _blurred(image: np.ndarray, deviation: float) -> np.ndarray:
    rows, columns = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]
    passed = np.exp(-2 * (math.pi * deviation) ** 2 * (rows**2 + columns**2))
    return np.fft.irfft2(np.fft.rfft2(image) * passed, s=(SIZE, SIZE)).astype(np.float32)


def phantom(
    hospital: int, key: tuple[int, ...], finding: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One slice.

    ``key`` seeds everything random: with and without ``finding`` it is the same head, in the same
    place, with the same noise.

    Args:
        hospital: whose scanner, 0 to 2.
        finding: of `FINDINGS`; None: a normal one.

    Returns:
        Hounsfield units, int32 ``[256, 256]``, and where the finding is, bool ``[256, 256]``.
    """
    scanner = SCANNERS[hospital]

    def drawn(what: str | None) -> np.ndarray:
        chance = np.random.default_rng([*key, 7])
        return _drawn(scanner, np.random.default_rng([*key, 1]), what, chance)

    head, mask = drawn(finding), np.zeros((SIZE, SIZE), bool)
    if finding is not None:
        mask = np.abs(head - drawn(None)) > CHANGED
    noise = np.random.default_rng([*key, 3]).normal(0, scanner.noise, (SIZE, SIZE))
    measured = _blurred(head, scanner.kernel) + _blurred(2.2 * noise, 0.6)
    measured += scanner.shift * (head > AIR / 2)
    return np.clip(np.rint(measured), -1024, 3071).astype(np.int32), mask


def _shots(
    seed: int, train: int, good: int, found: int
) -> Iterator[tuple[Path, int, tuple[int, ...], str | None]]:
    for at, name in enumerate(HOSPITALS):
        folder = Path(name) / HEAD
        for split, count in ((TRAIN, train), (GOOD, good), (FOUND, found)):
            for index in range(count):
                shown, finding = at, None
                if split != TRAIN and index % FOREIGN_EVERY == 1:
                    shown = (at + 1 + index // FOREIGN_EVERY % 2) % len(HOSPITALS)
                where = folder / ("train" if split == TRAIN else "test") / "good"
                number = index
                if split == FOUND:
                    finding, number = FINDINGS[index % len(FINDINGS)], index // len(FINDINGS)
                    where = folder / "test" / finding
                yield where / f"{number:03d}.dcm", shown, (seed, at, split, index), finding


def write_phantoms(
    root: Path,
    *,
    seed: int = 0,
    train: int = 24,
    test_good: int = 8,
    test_found: int = 9,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write three hospitals' scans below ``root`` → how many; the same arguments, the same bytes.

    Args:
        root: folder to create; it must be empty, or hold phantoms of the same arguments.
        train, test_good, test_found: scans a hospital.
        progress: called with (scans written, scans in all).

    Raises:
        DataError: an argument is out of range, or the folder holds something else.
    """
    if seed < 0 or train < 1 or test_good < 0 or test_found < 0:
        raise DataError("phantoms need a seed of 0 or more, 1 training scan, no negative counts")
    told = {"format": "fedpatchcore-phantoms", "version": 1, "seed": seed, "train": train}
    told |= {"test_good": test_good, "test_found": test_found}
    text, file = json.dumps(told, indent=2) + "\n", root / MANIFEST
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        if not (file.is_file() and file.read_text(encoding="utf-8") == text):
            raise DataError(
                f"{root} holds something else than these phantoms; choose another folder"
            )
        return 0
    shots = list(_shots(seed, train, test_good, test_found))
    for done, (path, hospital, key, finding) in enumerate(shots, 1):
        values, mask = phantom(hospital, key, finding)
        scan = Scan(values + 1024, bits=12, intercept=-1024.0)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(written(scan, PATIENT))
        if finding is not None:
            truth = root / path.parents[2] / "ground_truth" / finding / f"{path.stem}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(truth)
        if progress is not None:
            progress(done, len(shots))
    file.write_text(text, encoding="utf-8")
    return len(shots)
