"""What makes CTs hard, as random changes of training patches: narrow fields, metal, table, arms, contrast.

MONAI dictionary transforms on patches (1, z, y, x), canonically oriented and on the network's scale, with their labels;
`contour.imaging.hardships` does the like to whole images, to measure what a network bears. Each is left out of the
chain where its probability is 0, so that a training without them draws the same random numbers as ever.
"""

import numpy as np
import torch
from monai import transforms as mt
from numpy.typing import NDArray
from torch import Tensor

from contour.imaging.hardships import ARM_LAYERS_MM, ARM_RADIUS_MM, COUCH_LAYERS_MM
from contour.imaging.metal import METAL_HU, Disc, streaks_hu
from contour.imaging.preprocess import Preprocessing
from contour.training.config import TrainingConfig

AIR_BELOW_HU = -350.0
LEAST_AIR = 0.3  # of a patch's face, for what lies behind it to count as the room and not as a lung cut open
CIRCLE_MM = (90.0, 220.0)
STREAK_ANGLES = 90
CONTRAST_HU = (-150.0, 150.0)
NATIVE_BLOOD_HU = 40.0
SOFT_HU = (-50.0, 450.0)  # blood with and without medium; below lies air, above it calcium

Patch = dict[str, Tensor]


def hard_ct_transforms(config: TrainingConfig) -> list[mt.Transform]:
    """The transforms that `config` asks for, in the order in which a scanner meets them."""
    hard, preprocessing = config.augmentation.hard_ct, config.preprocessing
    blood = tuple(i for i, label in enumerate(config.labels, start=1) if label.name in hard.blood)
    asked = (
        (hard.contrast, lambda: ContrastMediumd(preprocessing, hard.contrast, blood)),
        (hard.arms, lambda: Armsd(preprocessing, hard.arms)),
        (hard.table, lambda: Tabled(preprocessing, hard.table)),
        (hard.streaks, lambda: Streaksd(preprocessing, hard.streaks)),
        (hard.circle, lambda: Circled(preprocessing, hard.circle)),
    )
    return [make() for probability, make in asked if probability > 0]


class _Hardd(mt.RandomizableTransform, mt.MapTransform):
    """A change of image and label that happens with some probability."""

    def __init__(self, preprocessing: Preprocessing, prob: float) -> None:
        mt.MapTransform.__init__(self, ("image", "label"))
        mt.RandomizableTransform.__init__(self, prob)
        self.preprocessing = preprocessing

    def __call__(self, data: Patch) -> Patch:
        """The dictionary with image and label changed in place, or as it was."""
        self.randomize(None)
        if self._do_transform:
            image, label = data["image"][0], data["label"][0]
            self.change(image, label)
        return data

    def change(self, image: Tensor, label: Tensor) -> None:
        """Change `image` and `label` (z, y, x) in place."""
        raise NotImplementedError

    def scaled(self, hu: float) -> float:
        """A value on the network's scale, within its clip."""
        low, high = self.preprocessing.clip
        return (min(max(hu, low), high) - self.preprocessing.mean) / self.preprocessing.std

    def hu(self, image: Tensor) -> NDArray[np.float32]:
        """The image in HU, as far as the clip shows them."""
        hu: NDArray[np.float32] = image.numpy() * np.float32(self.preprocessing.std) + np.float32(
            self.preprocessing.mean
        )
        return hu

    def put(self, image: Tensor, hu: NDArray[np.float32]) -> None:
        """Write `hu` back on the network's scale."""
        clipped = np.clip(hu, *self.preprocessing.clip)
        image.copy_(torch.from_numpy((clipped - self.preprocessing.mean) / self.preprocessing.std))

    def blank(self, image: Tensor, label: Tensor, hidden: NDArray[np.bool_]) -> None:
        """Nothing where `hidden` (z, y, x, or what broadcasts)."""
        gone = torch.from_numpy(np.ascontiguousarray(np.broadcast_to(hidden, image.shape)))
        image[gone] = self.preprocessing.padding
        label[gone] = 0

    def room(self, image: Tensor, label: Tensor, axis: int, *, far: bool) -> NDArray[np.bool_]:
        """(z, y, x): the air before the first tissue as seen from a face; nowhere if that face is mostly not air."""
        air = ((image < self.scaled(AIR_BELOW_HU)) & (label == 0)).numpy()
        face = air.take(-1 if far else 0, axis)
        if face.mean() < LEAST_AIR:
            return np.zeros(air.shape, dtype=bool)
        seen = np.flip(air, axis) if far else air
        reached = np.logical_and.accumulate(seen, axis=axis)
        return np.asarray(np.flip(reached, axis) if far else reached)


class Circled(_Hardd):
    """Nothing outside a circle: the field of a reconstruction."""

    def change(self, image: Tensor, label: Tensor) -> None:
        """Leave a random circle that holds the patch's middle."""
        _, y_mm, x_mm = self.preprocessing.spacing_zyx_mm
        _, height, width = image.shape
        radius_mm = self.R.uniform(*CIRCLE_MM)
        angle, away = self.R.uniform(0, 2 * np.pi), self.R.uniform(0, 0.9) * radius_mm
        y = (np.arange(height) - height / 2) * y_mm - away * np.sin(angle)
        x = (np.arange(width) - width / 2) * x_mm - away * np.cos(angle)
        self.blank(image, label, np.hypot(y[None, :, None], x[None, None]) > radius_mm)


class Streaksd(_Hardd):
    """Rods of metal in the tissue, and their streaks: fillings, screws, clips."""

    def change(self, image: Tensor, label: Tensor) -> None:
        """Rods at random places of one slice, through some slices; labels stay: the organ is where it was."""
        hu = self.hu(image)
        depth, height, width = hu.shape
        slice_mm, *step_yx_mm = self.preprocessing.spacing_zyx_mm
        step_mm = min(step_yx_mm)
        middle = int(self.R.randint(depth))
        tissue = np.argwhere(hu[middle] > -200.0)
        if tissue.size == 0:
            return
        first = tissue[self.R.randint(len(tissue))] * step_mm
        radius_mm = self.R.uniform(1.0, 5.0)
        places = [first + self.R.uniform(-40.0, 40.0, 2) * (i > 0) for i in range(self.R.randint(1, 5))]
        discs = [Disc(float(y), float(x), radius_mm) for y, x in places]
        half = max(1, round(self.R.uniform(2.0, 25.0) / slice_mm))
        rng = np.random.default_rng(self.R.randint(2**32, dtype=np.uint32))
        y_mm, x_mm = (np.arange(n, dtype=np.float64) * step_mm for n in (height, width))
        shares = [disc.share(y_mm, x_mm) for disc in discs]
        for z in range(max(0, middle - half), min(depth, middle + half)):
            hu[z] += streaks_hu((height, width), step_mm, discs, rng, STREAK_ANGLES)
            for share in shares:
                hu[z] += share * (METAL_HU - hu[z])
        self.put(image, hu)


class Tabled(_Hardd):
    """A table top behind the body, flat or hollow."""

    def change(self, image: Tensor, label: Tensor) -> None:
        """Skin, foam and skin, in the air behind the last tissue."""
        room = self.room(image, label, 1, far=True)
        rows = np.flatnonzero((~room).any(axis=(0, 2)))
        if not room.any() or rows.size == 0:
            return
        _, y_mm, x_mm = self.preprocessing.spacing_zyx_mm
        _, height, width = image.shape
        across_mm = (np.arange(width) - self.R.uniform(0, width)) * x_mm
        hollow_mm = self.R.choice([0.0, self.R.uniform(0.0, 60.0)]) * (across_mm / 200.0) ** 2
        top_mm = rows[-1] * y_mm + self.R.uniform(1.0, 15.0)
        depth_mm = (np.arange(height) * y_mm)[:, None] - top_mm + hollow_mm[None]
        for (start_mm, stop_mm, hu), change in zip(COUCH_LAYERS_MM, self.R.uniform(-150, 250, 3), strict=True):
            thinnest = max(stop_mm - start_mm, y_mm)  # a skin thinner than a voxel would fall between
            layer = (depth_mm >= start_mm) & (depth_mm < start_mm + thinnest)
            where = torch.from_numpy(room & layer[None])
            image[where] = self.scaled(hu + (change if hu > AIR_BELOW_HU else change / 4))


class Armsd(_Hardd):
    """An arm beside the body, along z with a slant."""

    def change(self, image: Tensor, label: Tensor) -> None:
        """Skin, fat, muscle and bone in the air of one side."""
        far = bool(self.R.random_sample() < 0.5)
        room = self.room(image, label, 2, far=far)
        columns = np.flatnonzero((~room).any(axis=(0, 1)))
        if not room.any() or columns.size == 0:
            return
        z_mm, y_mm, x_mm = (
            np.arange(n) * mm for n, mm in zip(image.shape, self.preprocessing.spacing_zyx_mm, strict=True)
        )
        size = self.R.uniform(0.75, 1.2)
        reach_mm = size * ARM_RADIUS_MM + self.R.uniform(-20.0, 20.0)
        edge_mm = x_mm[columns[-1]] + reach_mm if far else x_mm[columns[0]] - reach_mm
        slant_y, slant_x = self.R.uniform(-0.25, 0.25, 2)
        y = y_mm[None, :, None] - self.R.uniform(0.2, 0.8) * y_mm[-1] - slant_y * z_mm[:, None, None]
        x = x_mm[None, None] - edge_mm - slant_x * z_mm[:, None, None]
        apart_mm = np.hypot(y, x)
        for radius_mm, hu in reversed(ARM_LAYERS_MM):
            image[torch.from_numpy(room & (apart_mm <= size * radius_mm))] = self.scaled(hu)


class ContrastMediumd(_Hardd):
    """More or less contrast medium in the structures that hold blood; what already is native stays so."""

    def __init__(self, preprocessing: Preprocessing, prob: float, blood: tuple[int, ...]) -> None:
        super().__init__(preprocessing, prob)
        self.blood = blood

    def change(self, image: Tensor, label: Tensor) -> None:
        """One amount of HU for all of them."""
        hu = self.hu(image)
        amount = np.float32(self.R.uniform(*CONTRAST_HU))
        holds = np.isin(label.numpy(), self.blood) & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
        floor = np.minimum(hu, NATIVE_BLOOD_HU)
        hu[holds] = np.maximum(hu + amount, floor)[holds]
        self.put(image, hu)
