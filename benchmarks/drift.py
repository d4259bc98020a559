"""How soon a station's watch sees a change of pictures or parts, and how often it is wrong.

    python drift.py                        # everything, some eight minutes
    python drift.py --set impeller --backbone filterbank
    python drift.py --anew                 # measure pictures anew

Good test pictures come as parts of a line, drawn at random, again and again: a hundred accepted
ones are the reference, a hundred more go by, then the change sets in and stays. Each picture is
taken twice (cookies three times), turned by up to half a degree and lit within 1% at random, as
parts on a line are; then light, blur or a turn are added. Of the magnetic tiles the parts are
training pictures that the bank did not see; another lot are the test set's tiles, which are other
ones. What is measured of a picture is kept below $FEDPATCHCORE_HOME, streams are drawn from that.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Clock, keep, products, show, squeezenet
from PIL import Image, ImageEnhance, ImageFilter

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.drift.watch import Part, Rules, Watch
from fedpatchcore.places import cache_home
from fedpatchcore.station.looks import looks_of

SETS = ("cookie", "impeller", "magnetic_tile")
TAUGHT = {"cookie": 31, "impeller": 40, "magnetic_tile": 60}
SHOTS = {"cookie": (14, 3), "impeller": (30, 2), "magnetic_tile": (30, 2)}  # pictures, of each
DEFECTS = 20
SHARE = 0.3  # of defective parts in "defects"
BEFORE, LONGEST = 100, 500  # parts that go by, parts until it counts as unseen
UNDISTURBED = 2000
SEEDS, STREAMS = 30, 10
CHANGES: Mapping[str, Any] = {
    "as before": lambda image: image,
    "light −10%": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "light +25%": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "blur, σ = 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blur, σ = 3 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
}
TURNS = {"turned by 2°": 2.0, "turned by 10°": 10.0}
RIGHT = {
    "light −10%": ("light",),
    "light +25%": ("light",),
    "blur, σ = 1 pixel": ("focus",),
    "blur, σ = 3 pixels": ("focus",),
    "turned by 2°": ("parts",),
    "turned by 10°": ("parts",),
    "another lot": ("parts",),
    "30% defective": ("defects",),
}


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """About its middle; what comes in at the edges is the mirrored picture."""
    pad = max(image.size) // 8
    wide = Image.fromarray(
        np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    )
    made = wide.rotate(degrees, Image.Resampling.BICUBIC)
    return made.crop((pad, pad, pad + image.width, pad + image.height))


def shot(path: Path, at: int, degrees: float = 0.0) -> Image.Image:
    """One picture as a camera takes it again; it is turned once, for turning blurs."""
    chance = random.Random(f"{path.name}/{at}")
    image = turned(Image.open(path).convert("RGB"), degrees + chance.uniform(-0.5, 0.5))
    return ImageEnhance.Brightness(image).enhance(chance.uniform(0.99, 1.01))


def measured(detector: PatchCore, images: Sequence[Image.Image]) -> list[list[float]]:
    """``[stopped, score, uncovered, sharpness, brightness]`` each."""
    section = next(iter(detector.bank.sections.values()))
    found = []
    for image in images:
        told = detector.predict(image)
        looks = looks_of(image)
        uncovered = float((told.given.patches[0] > section.covers).mean())
        row = [bool(told.defective), told.score, uncovered, looks.sharpness, looks.brightness]
        found.append([float(one) for one in row])
    return found


def pools(name: str, config: RunConfig) -> dict[str, list[list[float]]]:
    """What was measured of one set's pictures, by change."""
    product = products(name)[name]
    chance = random.Random(0)
    train = sorted(product.train)
    chance.shuffle(train)
    taught, rest = train[: TAUGHT[name]], train[TAUGHT[name] :]
    good = sorted(one.path for one in product.test if not one.anomalous)
    bad = sorted(one.path for one in product.test if one.anomalous)
    for one in (good, bad):
        chance.shuffle(one)
    count, times = SHOTS[name]
    line = rest if name == "magnetic_tile" else good
    detector = PatchCore(config).fit({name: taught})
    shots = [shot(one, at) for one in line[:count] for at in range(times)]
    made = {
        change: measured(detector, [alter(one) for one in shots])
        for change, alter in CHANGES.items()
    }
    for change, degrees in TURNS.items():
        again = [shot(one, at, degrees) for one in line[:count] for at in range(times)]
        made[change] = measured(detector, again)
    if name == "magnetic_tile":
        lot = [shot(one, at) for one in good[:count] for at in range(times)]
        made["another lot"] = measured(detector, lot)
    made["30% defective"] = measured(detector, [shot(one, 0) for one in bad[:DEFECTS]])
    return made


def part(number: int, row: Sequence[float]) -> Part:
    """A part of the watch's kind."""
    names = ("score", "uncovered", "sharpness", "brightness")
    return Part(number, bool(row[0]), dict(zip(names, row[1:], strict=True)))


class Line:
    """Parts that come one by one, and the watch over them."""

    def __init__(self, usual: list[list[float]], rules: Rules, seed: int) -> None:
        self.chance, self.usual = random.Random(seed), usual
        self.watch, self.number = Watch(rules), 0
        while not self.watch.ready:
            self.step(usual)

    def step(self, pool: list[list[float]]):
        """One part → what it sets off; then the charts begin anew."""
        self.number += 1
        told = self.watch.take(part(self.number, self.chance.choice(pool)))
        if told:
            self.watch.restart()
        return told


def false_alarms(usual: list[list[float]], rules: Rules) -> Counter:
    """Alarms of undisturbed parts, by chart, over all streams."""
    found: Counter = Counter()
    for seed in range(STREAMS):
        line = Line(usual, rules, seed)
        for _ in range(UNDISTURBED):
            told = line.step(usual)
            found.update([told[0].chart] if told else [])
    return found


def seen(pools: dict[str, list], change: str, rules: Rules) -> list[tuple[int, str, str]]:
    """Of each stream: parts until the alarm, its cause, its chart; `LONGEST` + 1: none."""
    found = []
    for seed in range(SEEDS):
        line = Line(pools["as before"], rules, 1000 + seed)
        for _ in range(BEFORE):
            line.step(pools["as before"])
        line.watch.restart()
        for after in range(1, LONGEST + 1):
            pool = pools[change]
            if change == "30% defective" and line.chance.random() > SHARE:
                pool = pools["as before"]
            if told := line.step(pool):
                found.append((after, told[0].cause, told[0].chart))
                break
        else:
            found.append((LONGEST + 1, "", ""))
    return found


def row_of(name: str, backbone: str, change: str, found: list[tuple[int, str, str]]) -> dict:
    times = np.array([one[0] for one in found])
    hit = [one for one in found if one[0] <= LONGEST]
    right = sum(one[1] in RIGHT[change] for one in hit)
    others = Counter(one[1] for one in hit if one[1] not in RIGHT[change])
    charts = Counter(one[2] for one in hit)

    def at(share: float) -> str:
        value = float(np.quantile(times, share, method="higher"))
        return f"{value:.0f}" if value <= LONGEST else f"> {LONGEST}"

    return {
        "set": name,
        "backbone": backbone,
        "change": change,
        "median": at(0.5),
        "90%": at(0.9),
        "seen": f"{len(hit)} of {len(found)}",
        "cause right": f"{right} of {len(hit)}",
        "else": ", ".join(f"{cause} {n}" for cause, n in others.most_common()),
        "by": ", ".join(f"{chart} {n}" for chart, n in charts.most_common(2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--backbone", nargs="*", default=("squeezenet1_1", "filterbank"))
    parser.add_argument("--anew", action="store_true")
    args = parser.parse_args()
    rows, wrong = [], []
    for backbone in args.backbone:
        for name in args.set:
            config = (
                squeezenet()
                if backbone == "squeezenet1_1"
                else RunConfig(backbone=backbone, geometry="full")
            )
            file = cache_home() / "benchmarks" / f"drift_{name}_{backbone}.json"
            if args.anew or not file.is_file():
                with Clock() as clock:
                    made = pools(name, config)
                print(f"{name}, {backbone}: measured in {clock.seconds:.0f} s", flush=True)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(made))
            made = json.loads(file.read_text())
            for h in (5.0, 8.0):
                told = false_alarms(made["as before"], Rules(h=h))
                total = UNDISTURBED * STREAMS / 1000
                wrong.append(
                    {"set": name, "backbone": backbone, "h": h}
                    | {"per 1,000 parts": sum(told.values()) / total}
                    | {"of charts": ", ".join(f"{k} {v}" for k, v in told.most_common())}
                )
            for change in RIGHT:
                if change in made:
                    rows.append(row_of(name, backbone, change, seen(made, change, Rules())))
            show("False alarms", wrong)
            show("Changes", rows)
            keep("drift", {"false": wrong, "changes": rows})


if __name__ == "__main__":
    main()
