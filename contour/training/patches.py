"""Patches for training: sampled by class, changed at random, never mirrored, each a function of its number alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai import transforms as mt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from contour.core.errors import ConfigError
from contour.imaging.preprocess import normalized
from contour.training.appearance import SynthesisConfig, draw_appearance
from contour.training.augmentation_ct import hard_ct_transforms
from contour.training.config import AugmentationConfig, TrainingConfig
from contour.training.prepared import PreparedCase, load_prepared

MARGIN = 1.25  # a patch is cut this much larger before it is turned and scaled, so that its corners are filled
KEYS = ("image", "label", "regions")


class _FieldOfViewd(mt.RandomizableTransform, mt.MapTransform):
    """Blanks a part of the patch, as where nothing was scanned; labels there become background."""

    def __init__(self, keys: tuple[str, str], padding: float, prob: float) -> None:
        mt.MapTransform.__init__(self, keys)
        mt.RandomizableTransform.__init__(self, prob)
        self.padding = padding

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same dictionary with image and label blanked in place."""
        self.randomize(None)
        if self._do_transform:
            image, label = data[self.keys[0]], data[self.keys[1]]
            for axis, ends in self.outside(tuple(image.shape[1:])):
                blank = (slice(None),) * (axis + 1) + (ends,)
                image[blank] = self.padding
                label[blank] = 0
        return data

    def outside(self, shape_zyx: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
        """Axes and the parts along them that lie outside of the field of view."""
        raise NotImplementedError


class TruncatedFieldOfViewd(_FieldOfViewd):
    """Blanks the patch beyond a random slice, as where a scan begins or ends."""

    def outside(self, shape_zyx: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
        """One end along z, up to half of the patch."""
        depth = shape_zyx[0]
        cut = int(self.R.randint(1, depth // 2))
        yield 0, slice(0, cut) if self.R.random_sample() < 0.5 else slice(depth - cut, depth)


class WindowedFieldOfViewd(_FieldOfViewd):
    """Leaves a random box of the patch and blanks the rest, as a scan shows part of a body."""

    LEAST_ZYX = (0.2, 0.6, 0.6)

    def outside(self, shape_zyx: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
        """Along z all but a part from a fifth on, in plane all but one from 60 %."""
        # Whole in plane as often as not: most scans are.
        axes = (0,) if self.R.random_sample() < 0.5 else (0, 1, 2)
        for axis in axes:
            n = shape_zyx[axis]
            kept = round(n * self.R.uniform(self.LEAST_ZYX[axis], 1.0))
            first = int(self.R.randint(0, n - kept + 1))
            yield axis, slice(0, first)
            yield axis, slice(first + kept, n)


class DrawnAppearanced(mt.Randomizable, mt.MapTransform):
    """Tissue codes become an image on the network's scale."""

    def __init__(self, key: str, config: TrainingConfig, synthesis: SynthesisConfig) -> None:
        mt.MapTransform.__init__(self, (key,))
        self.config = config
        self.synthesis = synthesis

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """The dictionary with the codes (1, z, y, x) replaced by an image of that shape."""
        preprocessing = self.config.preprocessing
        codes = np.asarray(data[self.keys[0]][0]).astype(np.uint8)
        image = draw_appearance(codes, self.synthesis, preprocessing.spacing_zyx_mm, self.R)
        return {**data, self.keys[0]: torch.from_numpy(normalized(image, preprocessing))[None]}


def patch_transform(config: TrainingConfig, synthesis: SynthesisConfig | None = None) -> mt.Compose:
    """From a whole case to one augmented patch, by MONAI's dictionary transforms.

    With `synthesis`, the case's image holds tissue codes, of which code 0 lies around it.
    """
    augment = config.augmentation
    around = config.preprocessing.padding if synthesis is None else 0
    large = tuple(int(np.ceil(n * MARGIN)) for n in config.patch_shape_zyx)
    return mt.Compose(
        [
            mt.RandCropByLabelClassesd(
                KEYS,
                label_key="label",
                spatial_size=large,
                ratios=[1.0, *(label.patches for label in config.labels)],
                num_classes=len(config.labels) + 1,
                indices_key="label_cls_indices",
                allow_smaller=True,
                warn=False,
            ),
            mt.SpatialPadd(("image",), large, constant_values=around),
            mt.SpatialPadd(("label",), large, constant_values=0),
            mt.SpatialPadd(("regions",), large, mode="edge"),
            _spatial(config, "bilinear" if synthesis is None else "nearest"),
            *([] if synthesis is None else [DrawnAppearanced("image", config, synthesis)]),
            *hard_ct_transforms(config),
            TruncatedFieldOfViewd(("image", "label"), config.preprocessing.padding, augment.truncate_probability),
            *_windowed(config),
            mt.RandGaussianSmoothd("image", (0.3, 0.9), (0.3, 0.9), (0.3, 0.9), prob=0.2),
            mt.RandSimulateLowResolutiond("image", prob=augment.low_resolution_probability, zoom_range=(0.5, 1.0)),
            mt.RandScaleIntensityd("image", factors=0.1, prob=0.5),
            mt.RandShiftIntensityd("image", offsets=augment.shift, prob=0.5),
            mt.RandGaussianNoised("image", prob=0.5, std=augment.noise),
            mt.SelectItemsd((*KEYS, "drawn")),
            mt.ToTensord((*KEYS, "drawn"), track_meta=False),
        ]
    )


def _windowed(config: TrainingConfig) -> list[mt.Transform]:
    probability = config.augmentation.window_probability
    # Nothing where it is not asked for: each transform takes a seed, and other trainings must find the same patches.
    return [WindowedFieldOfViewd(("image", "label"), config.preprocessing.padding, probability)] if probability else []


def _spatial(config: TrainingConfig, image_mode: str) -> mt.Transform:
    augment: AugmentationConfig = config.augmentation
    spacing = min(config.preprocessing.spacing_zyx_mm)
    turn = np.deg2rad(augment.rotate_degrees)
    elastic = tuple(mm / spacing for mm in augment.elastic_mm)
    shared = {
        "spatial_size": config.patch_shape_zyx,
        "rotate_range": (turn, turn / 2, turn / 2),
        "scale_range": ((-augment.scale, augment.scale),) * 3,
        "mode": (image_mode, "nearest", "nearest"),
        "padding_mode": "border",
    }
    return mt.OneOf(
        [
            # The offsets are smoothed white noise: their size after smoothing is set by magnitude and sigma both.
            mt.Rand3DElasticd(KEYS, (5.0, 8.0), elastic, prob=1.0, **shared),
            mt.RandAffined(KEYS, prob=1.0, **shared),
        ],
        weights=(augment.elastic_probability, 1 - augment.elastic_probability),
    )


class PatchDataset(Dataset[dict[str, Tensor]]):
    """Patch number n of a run, for any n: cases in the proportion of their weights, changed at random.

    Seed and number decide the patch, so that neither the count of workers nor an interruption changes what a network
    is shown. Cases are held in memory, with the voxels of each class listed once.

    Raises:
        ConfigError: a case has tissues instead of an image, and the configuration says nothing of how they look.
    """

    def __init__(self, cases: tuple[Path, ...], weights: tuple[float, ...], config: TrainingConfig) -> None:
        self.config = config
        self.weights = np.asarray(weights) / np.sum(weights)
        self.transform = patch_transform(config)
        self.synthesis = patch_transform(config, config.synthesis) if config.synthesis is not None else None
        to_indices = mt.ClassesToIndicesd("label", num_classes=len(config.labels) + 1, max_samples_per_class=20000)
        prepared = [load_prepared(path) for path in cases]
        self.drawn_anew = [case.tissues_zyx is not None for case in prepared]
        if self.synthesis is None and any(self.drawn_anew):
            without_image = str(cases[self.drawn_anew.index(True)])
            raise ConfigError(
                without_image, "has tissues and no image", "an image, or `synthesis` in the configuration"
            )
        self.items = [to_indices(case_item(case)) for case in prepared]

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Image, label and regions (1, z, y, x) of patch `number`, and drawn (regions, structures)."""
        rng = np.random.default_rng((self.config.schedule.seed, number))
        chosen = int(rng.choice(len(self.items), p=self.weights))
        transform = self.synthesis if self.synthesis is not None and self.drawn_anew[chosen] else self.transform
        transform.set_random_state(seed=int(rng.integers(2**32)))
        patch: dict[str, Tensor] = transform(dict(self.items[chosen]))[0]  # the sampler answers a list, here of one
        return patch


class PatchNumbers(Sampler[int]):
    """The numbers of one epoch's patches, for this process of those that train together."""

    def __init__(self, patches: int, epoch: int) -> None:
        self.patches = patches
        # Lightning starts the loader's processes before it states the epoch that a resumed training is in.
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning states the epoch before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Patches of an epoch, for one process."""
        return self.patches

    def __iter__(self) -> Iterator[int]:
        """Numbers that no other epoch and no other process has."""
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        world = torch.distributed.get_world_size() if together else 1
        rank = torch.distributed.get_rank() if together else 0
        first = self.epoch * self.patches * world + rank
        return iter(range(first, first + self.patches * world, world))


class WholeCases(Dataset[dict[str, Tensor]]):
    """Cases in whole, for validation."""

    def __init__(self, cases: tuple[Path, ...]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        """How many cases there are."""
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Image, label and regions (1, z, y, x) of a case, and drawn (regions, structures)."""
        return case_item(load_prepared(self.cases[index]))


def case_item(case: PreparedCase) -> dict[str, Tensor]:
    """A case in the form that MONAI's dictionary transforms take; where it has tissues, they stand as its image."""
    # Every case of a batch needs a table of one size: a region for each start and end of each label is the most.
    labels = case.drawn.shape[1]
    drawn = torch.zeros(2 * labels + 1, labels, dtype=torch.bool)
    drawn[: len(case.drawn)] = torch.from_numpy(case.drawn)
    image = case.image_zyx if case.tissues_zyx is None else case.tissues_zyx
    return {
        "image": torch.from_numpy(image.astype(np.float32))[None],
        "label": torch.from_numpy(case.labels_zyx)[None],
        "regions": torch.from_numpy(case.regions_zyx)[None],
        "drawn": drawn,
    }


def patch_loader(dataset: PatchDataset, workers: int, epoch: int = 0) -> DataLoader[dict[str, Tensor]]:
    """Batches of patches from `epoch` on, prepared by `workers` processes beside the training (0: inside it)."""
    schedule = dataset.config.schedule
    return DataLoader(
        dataset,
        batch_size=schedule.batch_size,
        sampler=PatchNumbers(schedule.epoch_steps * schedule.batch_size, epoch),
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )
