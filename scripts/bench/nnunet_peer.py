"""nnU-Net's own predictor on one image, in nnU-Net's own environment: nothing of `contour` is imported here.

    PYTHON_OF_NNUNET scripts/bench/nnunet_peer.py MODEL_FOLDER IMAGE.npz OUTPUT.npz CHECKPOINT half|single FOLD ...

`IMAGE.npz` holds `voxels_zyx` and `spacing_zyx_mm`. Seconds begin with the image in memory and end with the drawing on
its grid; the weights are loaded before. Mirroring is off. nnU-Net adds up logits in half precision; `single` has it do
so in single, which tells what of a difference is that.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("nnUNet_raw", "none")
os.environ.setdefault("nnUNet_preprocessed", "none")
os.environ.setdefault("nnUNet_results", "none")

import numpy as np
import torch


def main() -> None:
    folder, image, output, checkpoint, precision, *folds = sys.argv[1:]
    from nnunetv2.inference.predict_from_raw_data import (  # type: ignore[import-not-found]  # noqa: PLC0415
        nnUNetPredictor,  # it reads the environment that is set above
    )

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(folder, tuple(folds), checkpoint)
    stored = np.load(image)
    voxels, spacing = stored["voxels_zyx"].astype(np.float32), [float(mm) for mm in stored["spacing_zyx_mm"]]
    regions = predictor.label_manager.has_regions
    if precision == "single":
        torch.half = torch.float32  # what its predictor asks for when it makes its sums
    started, processor = time.perf_counter(), time.process_time()
    found = predictor.predict_single_npy_array(voxels[None], {"spacing": spacing}, None, None, regions)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor
    if regions:
        # Each region by itself: in a label map the later ones paint over the earlier.
        drawn = np.asarray(found[1]) > 0.5
    else:
        drawn = np.stack([np.asarray(found) == label for label in predictor.label_manager.foreground_labels])
    np.savez_compressed(output, drawn=np.packbits(drawn, axis=-1), width=drawn.shape[-1])
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    size = sum((Path(folder) / f"fold_{fold}" / checkpoint).stat().st_size for fold in folds)
    print(json.dumps({"seconds": seconds, "processor_seconds": processor_seconds, "peak_gb": peak_gb, "bytes": size}))


if __name__ == "__main__":
    main()
