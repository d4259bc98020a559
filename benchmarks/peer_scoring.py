"""anomalib's side of ``scoring.py``; runs in the environment that ``peers.py`` makes.

Reads one JSON object a line from standard input, answers one line each:
``{"bank": file, "queries": file, "side": n, "threads": t}`` loads; ``{"image": i}`` scores image i.
"""

import json
import sys
import time

import numpy as np
import torch
from anomalib.models.image.patchcore.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.patchcore.torch_model import PatchcoreModel


def model_of(bank: np.ndarray) -> PatchcoreModel:
    """The model's scoring half with its defaults; the network is not built."""
    model = PatchcoreModel.__new__(PatchcoreModel)
    torch.nn.Module.__init__(model)
    model.memory_bank = torch.from_numpy(bank)
    model.num_neighbors = 9
    model.anomaly_map_generator = AnomalyMapGenerator()
    return model.eval()


@torch.inference_mode()
def score(model: PatchcoreModel, rows: np.ndarray, side: int) -> dict[str, object]:
    """As `PatchcoreModel.forward` from the embedding on."""
    started, cpu = time.perf_counter(), time.process_time()
    embedding = torch.from_numpy(rows)
    scores, locations = model.nearest_neighbors(embedding=embedding, n_neighbors=1)
    searched, searched_cpu = time.perf_counter() - started, time.process_time() - cpu
    scores, locations = scores.reshape(1, -1), locations.reshape(1, -1)
    image = model.compute_anomaly_score(scores, locations, embedding)
    model.anomaly_map_generator(scores.reshape(1, 1, side, side), (224, 224))
    return {
        "search": searched,
        "search cpu": searched_cpu,
        "all": time.perf_counter() - started,
        "all cpu": time.process_time() - cpu,
        "score": float(image),
        "distances": float(scores.double().sum()),
    }


def main() -> None:
    """Answer until the input ends."""
    model, queries, side = None, None, 0
    for line in sys.stdin:
        order = json.loads(line)
        if "bank" in order:
            torch.set_num_threads(order["threads"])
            model, side = model_of(np.load(order["bank"])), order["side"]
            queries = np.load(order["queries"])
            answer: dict[str, object] = {"torch": torch.__version__}
        else:
            answer = score(model, queries[order["image"]], side)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
