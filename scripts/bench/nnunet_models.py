"""Trained-model folders of nnU-Net's own making, for the comparison of imported packages with its own predictor.

    PYTHON_OF_NNUNET scripts/bench/nnunet_models.py WORK --cases CASE ... --train CONFIGURATION:FOLD:EPOCHS ...

Run in nnU-Net's own environment: nothing of `contour` is imported here. Each CASE is a folder with `image.nii.gz`,
`labels.nii.gz` and `labels.json` (structure to label value), as TotalSegmentator names its structures. WORK becomes
nnU-Net's three folders. Data set, fingerprint, plans (nnU-Net's planner, a small network), preprocessing and training
are nnU-Net's; only the length of an epoch is changed, by the attributes of its trainer. What exists is kept, and a
training that was cut off goes on from its last checkpoint, so the command can be repeated until it is done.

A cascade needs its first stage's drawing of every case: train `3d_lowres:all:N` before `3d_cascade_fullres:all:N`.
On two cores an iteration of the default network takes one to two seconds.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

DATASET, PLANS = "Dataset501_Thorax", "quick"
SPACING_ZYX_MM = (3.0, 2.0, 2.0)
FEATURES, MOST_FEATURES, GPU_GB = 16, 128, 0.25  # what sets the size of nnU-Net's plans
STRUCTURES = {
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "heart": ("heart",),
    "aorta": ("aorta",),
    "esophagus": ("esophagus",),
    "spinal_cord": ("spinal_cord",),
    "trachea": ("trachea",),
    "liver": ("liver",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=Path, nargs="+", required=True)
    parser.add_argument("--train", nargs="+", required=True, help="CONFIGURATION:FOLD:EPOCHS")
    parser.add_argument("--iterations", type=int, default=50, help="of an epoch; nnU-Net's are 250")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for folder in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{folder}"] = str(arguments.work / f"nnUNet_{folder}")
        Path(os.environ[f"nnUNet_{folder}"]).mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
    import torch  # noqa: PLC0415 - nnU-Net reads the environment when it is imported

    torch.set_num_threads(arguments.threads)
    make_dataset(arguments.work / "nnUNet_raw" / DATASET, arguments.cases)
    plans = make_plans(arguments.work / "nnUNet_preprocessed" / DATASET)
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # augmentation in this process; its planner wants one more
    for wanted in arguments.train:
        configuration, fold, epochs = wanted.split(":")
        preprocess(plans, configuration)
        make_split(plans.with_name("splits_final.json"), [case.name for case in arguments.cases])
        train(configuration, fold, int(epochs), arguments.iterations)


def make_dataset(folder: Path, cases: list[Path]) -> None:
    """The cases as nnU-Net wants them, in DICOM's usual orientation."""
    if (folder / "dataset.json").is_file():
        return
    import numpy as np  # noqa: PLC0415
    import SimpleITK as sitk  # noqa: PLC0415

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        image = sitk.Cast(sitk.DICOMOrient(sitk.ReadImage(str(case / "image.nii.gz")), "LPS"), sitk.sitkInt16)
        stored = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(case / "labels.nii.gz")), "LPS"))
        values = json.loads((case / "labels.json").read_text(encoding="utf-8"))
        labels = np.zeros(stored.shape, np.uint8)
        for number, parts in enumerate(STRUCTURES.values(), start=1):
            labels[np.isin(stored, [values[part] for part in parts if part in values])] = number
        drawn = sitk.GetImageFromArray(labels)
        drawn.CopyInformation(image)
        sitk.WriteImage(image, str(folder / "imagesTr" / f"{case.name}_0000.nii.gz"))
        sitk.WriteImage(drawn, str(folder / "labelsTr" / f"{case.name}.nii.gz"))
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {name: i for i, name in enumerate(STRUCTURES, start=1)},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def make_plans(folder: Path) -> Path:
    """The plans of nnU-Net's planner for a network that two cores can train."""
    path = folder / f"{PLANS}.json"
    if path.is_file():
        return path
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (  # type: ignore[import-not-found]  # noqa: PLC0415
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # type: ignore[import-not-found]  # noqa: PLC0415
        extract_fingerprints,
    )

    extract_fingerprints([501], num_processes=1, check_dataset_integrity=True)
    planner = ExperimentPlanner(
        501, gpu_memory_target_in_gb=GPU_GB, plans_name=PLANS, overwrite_target_spacing=list(SPACING_ZYX_MM)
    )
    planner.UNet_base_num_features = FEATURES
    planner.UNet_max_features_3d = MOST_FEATURES
    planner.plan_experiment()
    return path


def make_split(path: Path, cases: list[str]) -> None:
    """Fold 0 holds out the last case: nnU-Net's five folds need more cases than a comparison does."""
    if not path.is_file():
        path.write_text(json.dumps([{"train": cases[:-1], "val": cases[-1:]}]), encoding="utf-8")


def preprocess(plans: Path, configuration: str) -> None:
    """Each configuration's cases, once; a cascade looks at those of the configuration that it builds on."""
    configurations = json.loads(plans.read_text(encoding="utf-8"))["configurations"]
    configuration = configurations[configuration].get("inherits_from", configuration)
    done = plans.with_name(f"{PLANS}_{configuration}.done")
    if done.is_file():
        return
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: PLC0415
        preprocess as preprocess_datasets,
    )

    preprocess_datasets([501], PLANS, configurations=(configuration,), num_processes=(1,))
    done.touch()


def train(configuration: str, fold: str, epochs: int, iterations: int) -> None:
    """nnU-Net's own training, from its last checkpoint if there is one; a first stage then draws for the next."""
    trainer = trainer_of(configuration, fold)
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, iterations, 1
    trainer.save_every = 1
    folder = Path(trainer.output_folder)
    if not (folder / "checkpoint_final.pth").is_file():
        if (folder / "checkpoint_latest.pth").is_file():
            trainer.load_checkpoint(str(folder / "checkpoint_latest.pth"))
        trainer.run_training()
    if configuration == "3d_lowres" and not (folder / "validation" / "summary.json").is_file():
        trainer.load_checkpoint(str(folder / "checkpoint_final.pth"))
        trainer.perform_actual_validation()


def trainer_of(configuration: str, fold: str) -> Any:
    import torch  # noqa: PLC0415
    from nnunetv2.run.run_training import get_trainer_from_args  # type: ignore[import-not-found]  # noqa: PLC0415

    number = fold if fold == "all" else int(fold)
    return get_trainer_from_args("501", configuration, number, "nnUNetTrainer", PLANS, device=torch.device("cpu"))


if __name__ == "__main__":
    main()
