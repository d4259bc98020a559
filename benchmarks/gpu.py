"""Everything that is claimed of a GPU, measured by one command on a bare host in under 8 minutes.

    python benchmarks/gpu.py [--seconds 460] [--only select,score,extract,latency,test]
                             [--out gpu.json]

One process, no network, no Flower, no data; FAISS is timed if it is there. Each figure is printed
and written to the file of results (default `benchmarks/results/gpu.json`) as soon as it is known,
the most important first: a run that is cut short counts as far as it came. What no longer fits into
``--seconds`` is left out and named.

What to bring
    The host has Python 3.11 or newer and torch 2.11 with CUDA. Bring this tree, the weights
    (`weights/squeezenet1_1-imagenet.safetensors`, 3 MB, below $FEDPATCHCORE_SHARED or ../shared or
    ./shared; without it SqueezeNet has random weights), and what torch did not bring along. On a
    machine with a package index, for the host's Python and platform (here 3.11):

        pip download -d wheels --no-deps --only-binary=:all: --python-version 3.11 \\
          --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \\
          numpy pillow pydantic pydantic-core annotated-types typing-inspection typing-extensions \\
          safetensors lazy-loader packaging pytest pluggy iniconfig pygments torchvision==0.26.*
        pip install --no-deps --no-index --find-links wheels --target carried wheels/*.whl

    About 40 MB; `faiss-cpu` (24 MB) is worth it only where there is room. Leave out what the host
    has: the first lines of the run name what is missing. (torchvision's number goes with torch's:
    0.26 with 2.11.)

The command, on the host, in this tree
        PYTHONPATH=carried python benchmarks/gpu.py

What a good result is (the last lines say ✓ or ✗ for each; H100)
    extraction   wide_resnet50_2, 224 px, batch 64, from JPEG files of 256 px, 16 cores: at least
                 40% of what the bare network reaches with data already on the card
    selection    1,000,000 × 1,024 → 10,000 rows: at most 20 s, at least 10 times the plain loop
                 (one product and one argmax a pick, nothing waits), and its picks
    search       one image (784 patches) against 100,000 rows of 1,024: at most 5 ms
    one image    from file to score, wide_resnet50_2, 10,000 rows: no goal, for comparison with
                 `benchmarks/engines.py` on a processor
    equality     tests/cuda pass: features within 1e-4 (float32), 3e-2 (bfloat16), 4e-3 (float16)
                 of the largest one; picks the CPU's; distances within 2e-6; scores within 1e-3;
                 verdicts the CPU's unless a score lies that near to the threshold
    Of the rest: "share of bandwidth" and "TFLOPS" say what a better way could still gain; "looks at
    all rows" should be some dozens; peak memory should stay near the data's size.

A dry run, which is part of `make test`, takes the GPU's ways on the CPU with tiny sizes:

    python benchmarks/gpu.py --dry-run
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "torchvision", "numpy", "PIL", "pydantic", "safetensors", "lazy_loader")
WISHED = ("pytest", "faiss")
PARTS = ("select", "score", "extract", "latency", "test")
PRECISIONS = ("bfloat16", "float32")
WEIGHTS = "weights/squeezenet1_1-imagenet.safetensors"


class Run:
    """What was measured so far, on paper at all times, and how long there is."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.out, self.end = out, time.monotonic() + seconds
        self.found: dict[str, Any] = {"left out": [], "failed": {}}

    def measure(self, name: str, needs: float, work: Callable[[], Any]) -> Any:
        """One figure, if ``needs`` seconds are left; an error is noted and the next one follows."""
        begun = time.monotonic()
        if begun + needs > self.end:
            self.found["left out"].append(name)
            print(f"{name}: left out, {self.end - begun:.0f} s are left", flush=True)
            return None
        try:
            told = work()
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.found["failed"][name] = reason
            print(f"{name}: FAILED, {reason}", flush=True)
            told = None
        else:
            self.found[name] = told
            print(f"{name} ({time.monotonic() - begun:.1f} s)\n   {shown(told)}", flush=True)
        self.keep()
        return told

    def keep(self) -> None:
        """The results so far, in one piece."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        new = self.out.with_suffix(".new")
        new.write_text(json.dumps(self.found, indent=1, default=str) + "\n")
        new.replace(self.out)


def shown(told: Any) -> str:
    """A row on a line or two."""
    if not isinstance(told, dict):
        return str(told)
    numbers = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in told.items())
    return ", ".join(numbers)


def there(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def weights() -> Path | None:
    """SqueezeNet's, where somebody brought them."""
    given = os.environ.get("FEDPATCHCORE_SHARED")
    places = [Path(given)] if given else [ROOT.parent / "shared", ROOT / "shared"]
    return next((p / WEIGHTS for p in places if (p / WEIGHTS).is_file()), None)


def tests(dry: bool) -> dict[str, Any]:
    """The tests marked ``cuda``, without fixtures of the tree's other tests; dry: their names."""
    import pytest

    words = ["-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull, "--rootdir"]
    words += [str(ROOT), str(ROOT / "tests" / "cuda")]
    words += ["-o", "markers=cuda: needs a GPU that torch sees", "-rfs", "--tb=short"]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    words += ["--collect-only"] if dry else ["-m", "cuda"]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = pytest.main(words)
    lines = told.getvalue().strip().splitlines()
    return {"collected" if dry else "passed": int(code) == 0, "said": lines[-60:]}


def select(run: Run, device: Any, told: dict[str, Any], dry: bool) -> None:
    """K-center."""
    import gpu_parts as parts

    large, middle, small = (4000, 2000, 1000) if dry else (1_000_000, 100_000, 20_000)
    dimension, others = (32, 10) if dry else (1024, 400)

    def largest() -> dict[str, Any]:
        x = parts.patches(large, dimension, device)
        return parts.k_center(x, large // 100, told, others)

    run.measure(f"k-center {large:,}", 60, largest)

    def two() -> dict[str, Any]:
        x = parts.patches(middle, dimension, device)
        return parts.k_center(x, middle // 100, told, middle, turns=3)

    run.measure(f"k-center {middle:,}", 20, two)
    x = parts.patches(small, dimension, device)
    run.measure(
        f"k-center {small:,} and the CPU", 20, lambda: parts.k_center_on_cpu(x, small // 100)
    )


def score(run: Run, device: Any, dry: bool) -> None:
    """Nearest rows."""
    import gpu_parts as parts

    sizes = (1000, 3000) if dry else (100_000, 1000, 10_000, 1_000_000)
    dimension, patches = (32, 20) if dry else (1024, parts.PATCHES)
    for rows in sizes:
        bank = parts.patches(rows, dimension, device, seed=1)
        for batch in (1, 32):
            run.measure(
                f"search {rows:,}, batch {batch}",
                30 if rows > 100_000 else 10,
                lambda bank=bank, batch=batch: parts.scoring(
                    bank, batch, patches, 2 if batch > 1 else 5, 100_000
                ),
            )
        del bank


def extract(run: Run, device: Any, told: dict[str, Any], dry: bool, folder: Path) -> None:
    """Features."""
    import gpu_parts as parts

    side, count = (64, 6) if dry else (224, 1024)
    plan = [
        ("wide_resnet50_2", precision, batch) for batch in (64, 8, 1) for precision in PRECISIONS
    ]
    plan += [("resnet18", precision, batch) for batch in (64, 8, 1) for precision in PRECISIONS]
    plan += [("squeezenet1_1", "float32", 64)]
    if dry:
        plan = [("resnet18", "bfloat16", 2), ("squeezenet1_1", "float32", 4)]
    paths = parts.files(folder, min(count, 256), side + 32)
    paths = paths * -(-count // len(paths))
    made: dict[tuple[str, str], Any] = {}
    for name, precision, batch in plan:

        def one(name: str = name, precision: str = precision, batch: int = batch) -> dict[str, Any]:
            if (name, precision) not in made:
                given = weights() if name.startswith("squeeze") else None
                made[name, precision] = parts.network(name, precision, device, side, folder, given)
            some = paths[: 64 if batch == 1 and not dry else None]
            return parts.extraction(made[name, precision], some, batch, told, 1 if dry else 2)

        run.measure(f"{name}, {precision}, batch {batch}", 25 if batch > 1 else 10, one)


def latency(run: Run, device: Any, dry: bool, folder: Path) -> None:
    """One image from file to verdict."""
    import gpu_parts as parts

    side, rows, turns = (64, 500, 1) if dry else (224, 10_000, 20)
    name = "resnet18" if dry else "wide_resnet50_2"
    (path,) = parts.files(folder, 1, side + 32)
    plan = [(precision, False) for precision in PRECISIONS]
    plan += [] if dry else [("bfloat16", True)]  # compiling takes a minute
    for precision, compiled in plan:

        def one(precision: str = precision, compiled: bool = compiled) -> dict[str, Any]:
            made = parts.network(name, precision, device, side, folder, None)
            return parts.latency(made, path, rows, compiled=compiled, turns=turns)

        told = f"one image, {name}, {precision}" + (", compiled" if compiled else "")
        run.measure(told, 90 if compiled else 10, one)


def goals(found: dict[str, Any]) -> list[tuple[str, bool | None, str]]:
    """What is wanted, whether it is reached (None: not measured), and the figure."""
    rows: list[tuple[str, bool | None, str]] = []

    def goal(name: str, part: str, key: str, reached: Callable[[float], bool]) -> None:
        value = (found.get(part) or {}).get(key)
        told = "not measured" if value is None else f"{value:.4g}"
        rows.append((name, None if value is None else reached(value), told))

    large, network = "k-center 1,000,000", "wide_resnet50_2, {}, batch 64"
    goal("selection in at most 20 s", large, "seconds", lambda v: v <= 20)
    goal("at least 10 times the plain loop", large, "times the plain loop", lambda v: v >= 10)
    goal("one image in at most 5 ms", "search 100,000, batch 1", "ms", lambda v: v <= 5)
    for precision in PRECISIONS:
        part, key = network.format(precision), "from files, of bare"
        goal(f"extraction, {precision}: at least 0.4 of bare", part, key, lambda v: v >= 0.4)
    goal("the GPU gives what the CPU gives", "tests", "passed", bool)
    return rows


def main() -> int:
    """Measure, print, keep; 1 if a goal was missed or something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=460.0, help="what no longer fits is left")
    parser.add_argument("--only", default=",".join(PARTS), help="some of these parts")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--device", default="cuda", help="cuda:1 for the second GPU")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU")
    asked = parser.parse_args()
    run = Run(asked.out, asked.seconds)
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    for name in (*NEEDED, *WISHED):
        if not there(name):
            print(f"{name} is not installed" + (": needed, see the head" if name in NEEDED else ""))
    if missing := [name for name in NEEDED if not there(name)]:
        print(f"bring along: {', '.join(missing)}")
        return 2

    import torch

    if not (asked.dry_run or torch.cuda.is_available()):
        print("torch sees no GPU: run this on a host with one, or with --dry-run")
        return 2
    import gpu_parts as parts

    device = torch.empty(0, device="cpu" if asked.dry_run else asked.device).device
    dry, wanted = asked.dry_run, asked.only.split(",")
    told = run.measure(
        "card", 5, lambda: parts.card(device, 128 if dry else 8192, 10**4 if dry else 1 << 29)
    )
    if told is None:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        if "select" in wanted:
            select(run, device, told, dry)
        if "score" in wanted:
            score(run, device, dry)
        if "test" in wanted and there("pytest"):
            run.measure("tests", 60, lambda: tests(dry))
        if "extract" in wanted:
            extract(run, device, told, dry, Path(folder))
        if "latency" in wanted:
            latency(run, device, dry, Path(folder))
    reached = goals(run.found)
    run.found["goals"] = {name: [ok, value] for name, ok, value in reached}
    run.keep()
    for name, ok, value in reached:
        print(f"{'–' if ok is None else '✓' if ok else '✗'} {name}: {value}")
    if run.found["left out"]:
        print(f"left out: {'; '.join(run.found['left out'])}")
    print(f"kept in {run.out}")
    return int(bool(run.found["failed"]) or any(ok is False for _, ok, _ in reached))


if __name__ == "__main__":
    sys.exit(main())
