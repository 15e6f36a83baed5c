"""What an nnU-Net v2 trained-model folder says of itself: `plans.json` and `dataset.json`, in our terms.

Read as nnU-Net 2.8.1 reads them, and as its earlier versions wrote them (plans without `architecture`, before 2.2).
What its own code would look up by name, a table here says what it may be; the rest is refused by that name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from contour.core.errors import PackageError
from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing, Resampling, Standardised
from contour.training.importing.entries import Entries, read_json
from contour.training.importing.unet import Norm, UNetSpec

PLANS_FILE, DATASET_FILE = "plans.json", "dataset.json"
OVERLAP = 0.5  # nnU-Net's default tile_step_size
WIDEST = 3.0e38  # what clips nothing: nearly the largest number of single precision

# Where z, y and x of the arrays that a reader hands to nnU-Net grow to: S or I, P or A, L or R. Readers that reorient
# bring images to RAS (x to the right, y to anterior); the others take them as their authors stored them.
READER_ORIENTATION = {
    "SimpleITKIO": None,
    "SimpleITKIOWithReorient": "SAR",
    "NibabelIO": None,
    "NibabelIOWithReorient": "SAR",
}
_ORIENTATION = re.compile(r"[SI][PA][LR]")

_RESAMPLER = "resample_data_or_seg_to_shape"
_PLAIN_NETWORKS = ("PlainConvUNet",)
_RESIDUAL_NETWORKS = ("ResidualEncoderUNet",)
_NORMS = {"instancenorm": Norm.INSTANCE, "batchnorm": Norm.BATCH}


@dataclass(frozen=True)
class SourceLabel:
    """A structure as its authors call it: the network's channel, or label, and, for regions, that it is a sigmoid."""

    name: str
    channel: int
    is_region: bool


@dataclass(frozen=True)
class TrainedModel:
    """A trained-model folder, one configuration of it.

    `order` says which axis of the reader's arrays (z, y, x) each axis of the network is; `previous` is the
    configuration whose drawing a cascade takes, None for a network that stands alone. `patch_shape` and
    `preprocessing` are in our order already.
    """

    folder: Path
    dataset: str
    configuration: str
    network: UNetSpec
    order: tuple[int, int, int]
    orientation: str | None
    patch_shape_zyx: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: tuple[SourceLabel, ...]
    modality: Modality | None
    previous: str | None


def read_model(folder: Path, configuration: str) -> TrainedModel:
    """The configuration called so of the trained model in `folder`.

    Raises:
        PackageError: a file is missing or has a mistake, or says what cannot be done here.
    """
    plans, dataset = read_json(folder / PLANS_FILE), read_json(folder / DATASET_FILE)
    chosen = _configuration(plans, configuration)
    channels = _channels(dataset)
    labels = _labels(dataset)
    order = _order(plans)
    heads = len(labels) if labels[0].is_region else 1 + max(label.channel for label in labels)
    previous = chosen.text("previous_stage") if chosen.has("previous_stage") else None
    inputs = 1 + (max(label.channel for label in labels) if previous else 0)
    network = _network(chosen, inputs, heads)
    axes = tuple(order.index(axis) for axis in range(3))  # where each of z, y, x is in the network
    patch = chosen.whole_numbers("patch_size")
    patch = patch if len(patch) == 3 else (1, *patch)
    return TrainedModel(
        folder=folder,
        dataset=plans.text("dataset_name"),
        configuration=configuration,
        network=network,
        order=order,
        orientation=_orientation(plans),
        patch_shape_zyx=(patch[axes[0]], patch[axes[1]], patch[axes[2]]),
        preprocessing=_preprocessing(plans, chosen, order),
        labels=labels,
        modality=_modality(channels),
        previous=previous,
    )


def check_orientation(letters: str) -> str:
    """`letters` such as SPL or SAR, if they are what arrays may grow to along z, y and x.

    Raises:
        PackageError: they are not.
    """
    if not _ORIENTATION.fullmatch(letters):
        raise PackageError("orientation", repr(letters), "S or I, P or A, L or R: where z, y and x grow to, as SPL")
    return letters


def _configuration(plans: Entries, name: str) -> Entries:
    """A configuration with all that it inherits."""
    configurations = plans.part("configurations")
    inherited: list[Entries] = []
    while True:
        if name not in configurations.content or len(inherited) > len(configurations.content):
            allowed = ", ".join(configurations.content)
            raise PackageError(f"{configurations.where}", f"has no configuration {name} to build on", allowed)
        inherited.append(configurations.part(name))
        if not inherited[-1].has("inherits_from"):
            break
        name = inherited[-1].text("inherits_from")
    merged = {key: value for entries in reversed(inherited) for key, value in entries.content.items()}
    return Entries(inherited[0].where, merged)


def _channels(dataset: Entries) -> tuple[str, ...]:
    key = "channel_names" if dataset.has("channel_names") else "modality"
    names = tuple(str(name) for name in dataset.part(key).content.values())
    if len(names) != 1:
        found = f"{len(names)} images a case ({', '.join(names)})"
        raise PackageError(
            f"{dataset.where}: {key}", found, "one image: several registered ones are not contoured here"
        )
    return names


def _modality(channels: tuple[str, ...]) -> Modality | None:
    """What the images are, where their name says so."""
    words = set(re.split(r"[^a-z0-9]+", channels[0].casefold()))
    if "ct" in words:
        return Modality.CT
    return Modality.MR if words & {"mr", "mri", "t1", "t1w", "t2", "t2w", "flair"} else None


def _labels(dataset: Entries) -> tuple[SourceLabel, ...]:
    entries = dataset.part("labels")
    values = {str(name): value for name, value in entries.content.items() if name != "ignore"}
    if values.pop("background", None) != 0:
        raise entries.refuse("background", "0: nnU-Net's background")
    are_regions = any(isinstance(value, list) and len(value) > 1 for value in values.values())
    found = []
    for channel, (name, value) in enumerate(values.items(), start=1):
        number = value[0] if isinstance(value, list) and len(value) == 1 else value
        if are_regions:
            found.append(SourceLabel(name, channel, True))
        elif isinstance(number, int) and not isinstance(number, bool) and number > 0:
            found.append(SourceLabel(name, number, False))
        else:
            raise entries.refuse(name, "a label above 0, or a list of labels")
    if not found:
        raise PackageError(entries.where, "names no structure", "at least one label")
    return tuple(found)


def _order(plans: Entries) -> tuple[int, int, int]:
    order = plans.whole_numbers("transpose_forward")
    if sorted(order) != [0, 1, 2]:
        raise plans.refuse("transpose_forward", "an order of the axes 0, 1 and 2")
    return order[0], order[1], order[2]


def _orientation(plans: Entries) -> str | None:
    reader = plans.text("image_reader_writer")
    if reader not in READER_ORIENTATION:
        raise plans.refuse("image_reader_writer", f"one of {', '.join(READER_ORIENTATION)}")
    return READER_ORIENTATION[reader]


def _preprocessing(plans: Entries, chosen: Entries, order: tuple[int, int, int]) -> Preprocessing:
    _check_resampling(chosen)
    spacing = chosen.numbers("spacing")
    flat = len(spacing) == 2
    if flat:
        # One slice at a time: along the slices images keep their own spacing.
        spacing = (plans.numbers("original_median_spacing_after_transp")[0], *spacing)
    if len(spacing) != 3:
        raise chosen.refuse("spacing", "two or three numbers")
    axes = [order.index(axis) for axis in range(3)]
    clip, mean, std, percentiles, standardised = _scale(plans, chosen)
    return Preprocessing(
        spacing_zyx_mm=(spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
        clip=clip,
        mean=mean,
        std=std,
        percentiles=percentiles,
        resampling=Resampling.SPLINE,
        standardised=standardised,
        padding_value=0.0,
        native_axis=order[0] if flat else None,
        crop_to_nonzero=True,
    )


def _check_resampling(chosen: Entries) -> None:
    allowed = f"{_RESAMPLER} of order 3 for images and 1 for logits, order_z 0, force_separate_z null"
    for what, order in (("data", 3), ("probabilities", 1)):
        key = f"resampling_fn_{what}"
        if chosen.text(key) != _RESAMPLER:
            raise chosen.refuse(key, allowed)
        settings = chosen.part(f"{key}_kwargs")
        given = tuple(settings.content.get(k) for k in ("is_seg", "order", "order_z", "force_separate_z"))
        if given != (False, order, 0, None) or len(settings.content) > 4:
            raise chosen.refuse(f"{key}_kwargs", allowed)
    if chosen.has("preprocessor_name") and chosen.text("preprocessor_name") != "DefaultPreprocessor":
        raise chosen.refuse("preprocessor_name", "DefaultPreprocessor")


_Range = tuple[float, float]


def _scale(plans: Entries, chosen: Entries) -> tuple[_Range, float, float, _Range | None, Standardised | None]:
    """The clip, mean and std, and what comes before them, of the one image's normalisation."""
    schemes = [str(item) for item in chosen.items("normalization_schemes")]
    masks = chosen.items("use_mask_for_norm")
    if len(schemes) != 1:
        raise chosen.refuse("normalization_schemes", "one, as there is one image")
    wide = (-WIDEST, WIDEST)
    if schemes[0] == "CTNormalization":
        values = plans.part("foreground_intensity_properties_per_channel").part("0")
        clip = (values.number("percentile_00_5"), values.number("percentile_99_5"))
        return clip, values.number("mean"), max(values.number("std"), 1e-8), None, None
    if schemes[0] == "ZScoreNormalization":
        return wide, 0.0, 1.0, None, Standardised.NONZERO if masks == [True] else Standardised.IMAGE
    if schemes[0] == "NoNormalization":
        return wide, 0.0, 1.0, None, None
    if schemes[0] == "RescaleTo01Normalization":
        return (0.0, 1.0), 0.0, 1.0, (0.0, 100.0), None
    known = "CTNormalization, ZScoreNormalization, NoNormalization, RescaleTo01Normalization"
    raise chosen.refuse("normalization_schemes", f"one of {known}")


def _network(chosen: Entries, inputs: int, heads: int) -> UNetSpec:
    try:
        if chosen.has("architecture"):
            architecture = chosen.part("architecture")
            return _stated_network(architecture, inputs, heads)
        return _early_network(chosen, inputs, heads)
    except ValueError as error:
        raise PackageError(chosen.where, str(error), "a network as nnU-Net plans it") from error


def _stated_network(architecture: Entries, inputs: int, heads: int) -> UNetSpec:
    residual = _is_residual(architecture, "network_class_name")
    given = architecture.part("arch_kwargs")
    convolution = given.text("conv_op").rsplit(".", 1)[-1]
    if convolution not in ("Conv2d", "Conv3d"):
        raise given.refuse("conv_op", "torch.nn.modules.conv.Conv2d or Conv3d")
    dimensions = int(convolution[4])
    for key, allowed in (
        ("bottleneck_channels", "null: blocks with a bottleneck are not built here"),
        ("block", "null: nnU-Net's basic block"),
        ("squeeze_excitation", "false"),
        ("stochastic_depth_p", "0"),
        ("pool", "conv"),
        ("pool_type", "conv"),
    ):
        if given.content.get(key) not in (None, False, 0, "conv"):
            raise given.refuse(key, allowed)
    if given.has("dropout_op") and not given.text("dropout_op").rsplit(".", 1)[-1].startswith("Dropout"):
        raise given.refuse("dropout_op", "null, or a dropout, which is idle when a network draws")
    stages = len(given.items("features_per_stage"))
    norm = given.text("norm_op").rsplit(".", 1)[-1].removesuffix(f"{dimensions}d").casefold()
    if norm not in _NORMS:
        raise given.refuse("norm_op", "instance or batch normalisation")
    settings = given.part("norm_op_kwargs") if given.has("norm_op_kwargs") else Entries(given.where, {})
    return UNetSpec(
        dimensions=dimensions,
        residual=residual,
        channels_in=inputs,
        channels_out=heads,
        features=given.whole_numbers("features_per_stage"),
        kernels=given.tuples("kernel_sizes", dimensions),
        strides=given.tuples("strides", dimensions),
        encoder_depth=given.whole_numbers("n_blocks_per_stage" if residual else "n_conv_per_stage", stages),
        decoder_depth=given.whole_numbers("n_conv_per_stage_decoder", stages - 1),
        conv_bias=given.flag("conv_bias"),
        norm=_NORMS[norm],
        norm_eps=settings.number("eps") if settings.has("eps") else 1e-5,
        norm_affine=settings.flag("affine") if settings.has("affine") else norm == "batchnorm",
        slope=_slope(given),
        nonlin_first=given.has("nonlin_first") and given.flag("nonlin_first"),
        stem_features=int(given.number("stem_channels")) if given.has("stem_channels") else None,
    )


def _slope(given: Entries) -> float:
    kind = given.text("nonlin").rsplit(".", 1)[-1]
    if kind not in ("LeakyReLU", "ReLU"):
        raise given.refuse("nonlin", "torch.nn.LeakyReLU or torch.nn.ReLU")
    settings = given.part("nonlin_kwargs") if given.has("nonlin_kwargs") else Entries(given.where, {})
    if kind == "ReLU":
        return 0.0
    return settings.number("negative_slope") if settings.has("negative_slope") else 0.01


def _early_network(chosen: Entries, inputs: int, heads: int) -> UNetSpec:
    """Plans before version 2.2 name a few numbers; the rest was always the same."""
    residual = _is_residual(chosen, "UNet_class_name")
    dimensions = len(chosen.items("patch_size"))
    kernels = chosen.tuples("conv_kernel_sizes", dimensions)
    least, most = int(chosen.number("UNet_base_num_features")), int(chosen.number("unet_max_num_features"))
    return UNetSpec(
        dimensions=dimensions,
        residual=residual,
        channels_in=inputs,
        channels_out=heads,
        features=tuple(min(least * 2**stage, most) for stage in range(len(kernels))),
        kernels=kernels,
        strides=chosen.tuples("pool_op_kernel_sizes", dimensions),
        encoder_depth=chosen.whole_numbers("n_conv_per_stage_encoder", len(kernels)),
        decoder_depth=chosen.whole_numbers("n_conv_per_stage_decoder", len(kernels) - 1),
    )


def _is_residual(entries: Entries, key: str) -> bool:
    kind = entries.text(key).rsplit(".", 1)[-1]
    if kind not in (*_PLAIN_NETWORKS, *_RESIDUAL_NETWORKS):
        raise entries.refuse(key, ", ".join((*_PLAIN_NETWORKS, *_RESIDUAL_NETWORKS)))
    return kind in _RESIDUAL_NETWORKS
