"""What a training run is told, from `configs/training/*.yaml`."""

from dataclasses import dataclass
from enum import StrEnum

from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Step
from contour.training.appearance import SynthesisConfig


@dataclass(frozen=True)
class TrainedLabel:
    """A structure to learn: its TG-263 name, and the names it has in the cases if not that, joined into one mask.

    `patches` is how often a patch is centred on it, relative to the other structures and to background, which has 1.
    `also` names labels that lie inside this one (the hippocampi in the brain): where such a label was not drawn, its
    voxels are this one's, and what the network draws of it counts to this structure.
    """

    name: str
    sources: tuple[str, ...] = ()
    patches: float = 1.0
    also: tuple[str, ...] = ()

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names to look for in a case."""
        return self.sources or (self.name,)


@dataclass(frozen=True)
class NetworkConfig:
    """A plain U-Net (MONAI's DynUNet): channels per level, each level halving the grid.

    `deep_supervision` is the number of coarser outputs, from the second finest on, that are trained beside the last.

    Raises:
        ValueError: fewer than three levels, or as many outputs as there are levels between.
    """

    filters: tuple[int, ...]
    deep_supervision: int = 0

    def __post_init__(self) -> None:
        if len(self.filters) < 3:
            raise ValueError(f"filters {self.filters}: at least three levels")
        if not 0 <= self.deep_supervision <= len(self.filters) - 2:
            raise ValueError(
                f"deep_supervision {self.deep_supervision}: 0 to {len(self.filters) - 2} with these levels"
            )


class Curve(StrEnum):
    """How the learning rate runs: one cycle (Smith and Topin, 2019), or falling as (1 - part done) ** 0.9."""

    ONE_CYCLE = "one_cycle"
    POLYNOMIAL = "polynomial"


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast: `epochs` of `epoch_steps` batches of `batch_size` patches, rates up to `learning_rate`.

    After each epoch the network is validated, and written down so that a killed training goes on from there.

    Raises:
        ValueError: a number below what makes sense.
    """

    epochs: int
    epoch_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    ema_decay: float
    seed: int
    curve: Curve = Curve.ONE_CYCLE

    def __post_init__(self) -> None:
        for name in ("epochs", "epoch_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: at least 1")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate}: above 0 and below 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay {self.ema_decay}: from 0, below 1")

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.epoch_steps


@dataclass(frozen=True)
class HardCtConfig:
    """How often a CT's patch is made hard: probabilities, all 0 unless stated. See `contour.training.augmentation_ct`.

    `circle`: nothing outside a circle in each plane; `streaks`: metal; `table` and `arms`: in the air around the body;
    `contrast`: more or less medium in the structures `blood`.

    Raises:
        ValueError: a probability outside 0 to 1, or contrast medium without a structure to hold it.
    """

    circle: float = 0.0
    streaks: float = 0.0
    table: float = 0.0
    arms: float = 0.0
    contrast: float = 0.0
    blood: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("circle", "streaks", "table", "arms", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: a probability, 0 to 1")
        if self.contrast > 0 and not self.blood:
            raise ValueError(f"contrast {self.contrast}: `blood` must name a structure that holds it")


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes; mirroring is not offered, because it would turn left into right.

    `truncate_probability` is for an end of the patch that is cut off, `window_probability` for all but a random box.
    """

    rotate_degrees: float
    scale: float
    elastic_probability: float
    elastic_mm: tuple[float, float]
    shift: float
    noise: float
    low_resolution_probability: float
    truncate_probability: float
    window_probability: float = 0.0
    hard_ct: HardCtConfig = HardCtConfig()


@dataclass(frozen=True)
class ValidationConfig:
    """What is looked at after each epoch: the first so many of the fold's validation cases, in whole."""

    cases: int = 3
    overlap: float = 0.25


class MemoryLayout(StrEnum):
    """How the network's tensors lie in memory; which is faster depends on machine and network, so it is measured."""

    CONTIGUOUS = "contiguous"
    CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class TrainingConfig:
    """A whole training run. `precision` is Lightning's ("bf16-mixed", "32-true", "16-mixed").

    Where structures of a case overlap, the later of `labels` counts. `largest_patch_voxels` goes into the package: how
    large the patches may grow when the network draws. `balance` weighs structures alike in the loss, whatever their
    size (1), or by their voxels (0): small ones among many are learnt sooner with some of it. `synthesis` says how the
    tissues of cases without an image look. `steps` goes into the package: what is made of the labels beyond
    themselves.

    Raises:
        ValueError: no labels, labels of one name, a label inside two others or inside one that is not there, or a patch
            that the network's levels do not divide.
    """

    name: str
    version: str
    title: str
    licence: str
    preprocessing: Preprocessing
    patch_shape_zyx: tuple[int, int, int]
    labels: tuple[TrainedLabel, ...]
    network: NetworkConfig
    schedule: ScheduleConfig
    augmentation: AugmentationConfig
    precision: str = "bf16-mixed"
    memory_layout: MemoryLayout = MemoryLayout.CONTIGUOUS
    validation: ValidationConfig = ValidationConfig()
    largest_patch_voxels: int | None = None
    balance: float = 0.0
    modality: Modality = Modality.CT
    synthesis: SynthesisConfig | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        names = [label.name for label in self.labels]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"labels {names}: at least one, each name once")
        inner = [name for label in self.labels for name in label.also]
        if len(set(inner)) < len(inner) or not set(inner) <= set(names):
            raise ValueError(f"also {inner}: names of labels, each inside one other at most")
        if self.preprocessing.crop_to_nonzero or self.preprocessing.native_axis is not None:
            # Cases are prepared whole, and at one spacing: a network would be trained on other than it is to draw.
            raise ValueError("preprocessing: crop_to_nonzero and native_axis are for imported networks only")
        divisor = 2 ** (len(self.network.filters) - 1)
        if any(n < divisor or n % divisor for n in self.patch_shape_zyx):
            raise ValueError(f"patch_shape_zyx {self.patch_shape_zyx}: multiples of {divisor}, one half per level")

    @property
    def around(self) -> tuple[int | None, ...]:
        """For each label the index of the one that it lies inside, or None."""
        outer = {name: i for i, label in enumerate(self.labels) for name in label.also}
        return tuple(outer.get(label.name) for label in self.labels)
