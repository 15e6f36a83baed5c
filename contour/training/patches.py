"""Patches for training: sampled by class, changed at random, never mirrored."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai import transforms as mt
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from contour.training.cases import Case, load_case
from contour.training.config import AugmentationConfig, TrainingConfig

MARGIN = 1.25  # a patch is cut this much larger before it is turned and scaled, so that its corners are filled


class TruncatedFieldOfViewd(mt.RandomizableTransform, mt.MapTransform):
    """Blanks the patch beyond a random slice, as where a scan begins or ends; labels there become background."""

    def __init__(self, keys: tuple[str, str], padding: float, prob: float) -> None:
        mt.MapTransform.__init__(self, keys)
        mt.RandomizableTransform.__init__(self, prob)
        self.padding = padding

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same dictionary with image and label blanked in place."""
        self.randomize(None)
        if not self._do_transform:
            return data
        image, label = data[self.keys[0]], data[self.keys[1]]
        depth = image.shape[1]
        cut = int(self.R.randint(1, depth // 2))
        ends = slice(0, cut) if self.R.random_sample() < 0.5 else slice(depth - cut, depth)
        image[:, ends] = self.padding
        label[:, ends] = 0
        return data


def patch_transform(config: TrainingConfig) -> mt.Compose:
    """From a whole case to one augmented patch, by MONAI's dictionary transforms."""
    augment = config.augmentation
    keys = ("image", "label")
    large = tuple(int(np.ceil(n * MARGIN)) for n in config.patch_shape_zyx)
    channels = len(config.labels) + 1
    return mt.Compose(
        [
            mt.RandCropByLabelClassesd(
                keys,
                label_key="label",
                spatial_size=large,
                ratios=[1.0, *(label.patches for label in config.labels)],
                num_classes=channels,
                indices_key="label_cls_indices",
                allow_smaller=True,
                warn=False,
            ),
            mt.SpatialPadd(("image",), large, constant_values=config.preprocessing.padding),
            mt.SpatialPadd(("label",), large, constant_values=0),
            *_spatial(config),
            TruncatedFieldOfViewd(keys, config.preprocessing.padding, augment.truncate_probability),
            mt.RandGaussianSmoothd("image", (0.3, 0.9), (0.3, 0.9), (0.3, 0.9), prob=0.2),
            mt.RandSimulateLowResolutiond("image", prob=augment.low_resolution_probability, zoom_range=(0.5, 1.0)),
            mt.RandScaleIntensityd("image", factors=0.1, prob=0.5),
            mt.RandShiftIntensityd("image", offsets=augment.shift, prob=0.5),
            mt.RandGaussianNoised("image", prob=0.5, std=augment.noise),
            mt.SelectItemsd(("image", "label", "drawn")),
            mt.ToTensord(("image", "label", "drawn"), track_meta=False),
        ]
    )


def _spatial(config: TrainingConfig) -> list[mt.Transform]:
    augment: AugmentationConfig = config.augmentation
    spacing = min(config.preprocessing.spacing_zyx_mm)
    turn = np.deg2rad(augment.rotate_degrees)
    elastic = tuple(mm / spacing for mm in augment.elastic_mm)
    shared = {
        "spatial_size": config.patch_shape_zyx,
        "rotate_range": (turn, turn / 2, turn / 2),
        "scale_range": ((-augment.scale, augment.scale),) * 3,
        "mode": ("bilinear", "nearest"),
        "padding_mode": "border",
    }
    return [
        mt.OneOf(
            [
                # The offsets are smoothed white noise: their size after smoothing is set by magnitude and sigma both.
                mt.Rand3DElasticd(("image", "label"), (5.0, 8.0), elastic, prob=1.0, **shared),
                mt.RandAffined(("image", "label"), prob=1.0, **shared),
            ],
            weights=(augment.elastic_probability, 1 - augment.elastic_probability),
        )
    ]


class PatchStream(IterableDataset[dict[str, Tensor]]):
    """An endless stream of patches: cases in the proportion of their weights, each worker with its own seed."""

    def __init__(self, cases: tuple[Path, ...], weights: tuple[float, ...], config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.weights = np.asarray(weights) / np.sum(weights)
        channels = len(config.labels) + 1
        to_indices = mt.ClassesToIndicesd("label", num_classes=channels, max_samples_per_class=20000)
        self.items = [to_indices(_item(load_case(path), channels)) for path in cases]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yields dictionaries with image (1, z, y, x), label (1, z, y, x) and drawn (channels,)."""
        worker = torch.utils.data.get_worker_info()
        seed = worker.seed % 2**32 if worker else torch.initial_seed() % 2**32
        rng = np.random.default_rng(seed)
        transform = patch_transform(self.config)
        transform.set_random_state(seed=seed)
        while True:
            item = self.items[int(rng.choice(len(self.items), p=self.weights))]
            yield transform(dict(item))[0]  # the sampler answers a list, here of one patch


def _item(case: Case, channels: int) -> dict[str, Tensor | np.ndarray]:
    drawn = torch.zeros(channels, dtype=torch.bool)
    drawn[[0, *case.drawn]] = True
    return {
        "image": torch.from_numpy(case.image_zyx.astype(np.float32))[None],
        "label": torch.from_numpy(case.labels_zyx)[None],
        "drawn": drawn,
    }


def patch_loader(stream: PatchStream, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Batches of patches, prepared by `workers` processes beside the training (0: inside it)."""
    return DataLoader(
        stream,
        batch_size=stream.config.schedule.batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )
