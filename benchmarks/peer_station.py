"""anomalib's side of ``engines.py --peer``; runs in the environment that ``peers.py`` makes.

Reads one JSON object a line from standard input, answers one line each: ``{"images": [files],
"bank": rows, "folder": where}`` builds its PatchCore on wide_resnet50_2 with random weights, fills
the memory bank with patches of these images, exports it to OpenVINO by anomalib's own export and
loads it by anomalib's own inferencer; ``{"image": file}`` judges one image from the file on.
"""

import json
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import torch
from anomalib.data.utils import read_image
from anomalib.deploy import OpenVINOInferencer
from anomalib.models import Patchcore

SIDE = (224, 224)


def exported(images: list[str], bank: int, folder: str) -> OpenVINOInferencer:
    """Its detector, as it would stand at a line."""
    torch.manual_seed(0)
    model = Patchcore(
        backbone="wide_resnet50_2",
        layers=("layer2", "layer3"),
        pre_trained=False,
        pre_processor=Patchcore.configure_pre_processor(image_size=SIDE),
    )
    inner = model.model
    inner.train()
    with torch.no_grad():
        for file in images:
            inner(model.pre_processor(read_image(file, as_tensor=True).unsqueeze(0)))
    rows = torch.vstack(inner.embedding_store)
    inner.memory_bank = rows[torch.randperm(len(rows))[:bank]].clone()
    inner.embedding_store.clear()
    model.eval()
    height, width = read_image(images[0], as_tensor=True).shape[-2:]
    one = {"dynamic_axes": {}, "dynamic_shapes": None}  # its default is exported for two images
    path = model.to_openvino(folder, input_size=(height, width), onnx_kwargs=one)
    return OpenVINOInferencer(path, device="CPU")


def judged(inferencer: OpenVINOInferencer, file: str) -> dict[str, Any]:
    """Seconds of one verdict, by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    told = inferencer.predict(file)
    return {
        "ms": 1e3 * (time.perf_counter() - wall),
        "CPU ms": 1e3 * (time.process_time() - cpu),
        "score": float(told.pred_score.squeeze()),
        "map": list(told.anomaly_map.shape),
    }


def main() -> None:
    """Answer until the input ends."""
    inferencer = None
    for line in sys.stdin:
        order = json.loads(line)
        with redirect_stdout(sys.stderr):
            if "images" in order:
                inferencer = exported(order["images"], order["bank"], order["folder"])
                answer: dict[str, Any] = {"ready": True}
            else:
                answer = judged(inferencer, order["image"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
