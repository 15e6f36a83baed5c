"""What a training run is told, from `configs/training/*.yaml`."""

from dataclasses import dataclass

from contour.imaging.preprocess import Preprocessing


@dataclass(frozen=True)
class TrainedLabel:
    """A structure to learn: its TG-263 name and the names it has in the sources, joined into one mask.

    `patches` is how often a patch is centred on it, relative to the other structures and to background, which has 1.
    """

    name: str
    sources: tuple[str, ...]
    patches: float = 1.0


@dataclass(frozen=True)
class NetworkConfig:
    """A plain U-Net (MONAI's DynUNet): channels per level, each level halving the grid."""

    filters: tuple[int, ...]


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast: `steps` batches of `batch_size` patches; a one-cycle rate peaks at `learning_rate`."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    checkpoint_every: int
    ema_decay: float
    seed: int


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes; mirroring is not offered, because it would turn left into right."""

    rotate_degrees: float
    scale: float
    elastic_probability: float
    elastic_mm: tuple[float, float]
    shift: float
    noise: float
    low_resolution_probability: float
    truncate_probability: float


@dataclass(frozen=True)
class TrainingConfig:
    """A whole training run. `precision` is Lightning's ("bf16-mixed", "32-true", "16-mixed").

    `largest_patch_voxels` goes into the package: how large the patches may grow when the network draws.
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
    largest_patch_voxels: int | None = None
