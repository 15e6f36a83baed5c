"""What a MONAI bundle does around its network, in our terms: transforms before and after, and the sliding window.

Written after MONAI 1.6. What a transform is here stands in one function of its own; a transform, or an argument of one,
that has none is refused by its name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from contour.core.errors import PackageError
from contour.imaging.points import PointSampling
from contour.imaging.preprocess import Preprocessing, Standardised
from contour.training.importing.bundle_config import BundleConfig, BundlePart

WIDEST = 3.0e38  # what clips nothing: nearly the largest number of single precision
_AXIS = {"S": 0, "I": 0, "P": 1, "A": 1, "L": 2, "R": 2}
_CANONICAL = "SPL"  # what z, y and x grow to here
_SUFFIX = re.compile(r"(?:d|D|Dict)$")
_NOTHING_TO_DO = ("LoadImage", "EnsureChannelFirst", "EnsureType", "AddChannel", "ToTensor", "SaveImage")
_OURS_INSTEAD = {
    "KeepLargestConnectedComponent": "keeps the largest component: a protocol's structures say so here (components)",
    "FillHoles": "fills cavities: a protocol's structures say so here (fill_holes)",
    "RemoveSmallObjects": "removes small objects: a protocol's structures say so here (min_component_ml)",
}
_SOFTWARE = ("sw_batch_size", "device", "sw_device", "progress", "cache_roi_weight_map", "cpu_thresh", "buffer_steps")


@dataclass(frozen=True)
class Before:
    """What comes before the network. `order` says which of z, y, x each of its axes is, `orientation` what z, y and x
    grow to there; `notes` are for a person.
    """

    order: tuple[int, int, int]
    orientation: str
    preprocessing: Preprocessing
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """The sliding window: the patch on the network's own axes, its overlap, what surrounds an image that is smaller."""

    patch: tuple[int, int, int]
    overlap: float
    fill: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class After:
    """What comes after the network: the threshold of its sigmoids, None for an argmax over its channels."""

    threshold: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Scale:
    """How values become the network's: see `Preprocessing`."""

    clip: tuple[float, float] = (-WIDEST, WIDEST)
    mean: float = 0.0
    std: float = 1.0
    standardised: Standardised | None = None
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Seen:
    """What the transforms so far say."""

    axcodes: str = ""
    pixdim: tuple[float, ...] = ()
    scale: _Scale | None = None
    notes: tuple[str, ...] = ()


def read_before(config: BundleConfig) -> Before:
    """The transforms of `preprocessing`.

    Raises:
        PackageError: one is unknown here, in another order than can be had here, or one that is needed is missing.
    """
    seen = _Seen()
    for step in config.parts("preprocessing#transforms"):
        name = transform_name(step)
        if name in _NOTHING_TO_DO:
            continue
        if name not in _BEFORE:
            allowed = ", ".join(f"{known}d" for known in (*_BEFORE, *_NOTHING_TO_DO))
            raise PackageError(step.where, step.target, f"one of {allowed}")
        seen = _BEFORE[name](step, seen)
    where = f"{config.where}: preprocessing"
    if not seen.axcodes:
        raise PackageError(where, "has no Orientationd", "one: without it nobody knows where left is in its images")
    if not seen.pixdim:
        raise PackageError(where, "has no Spacingd", "one: networks here have voxels of one size")
    scale = seen.scale or _Scale()
    axes = tuple(_AXIS[letter] for letter in seen.axcodes)
    orientation = "".join(seen.axcodes[axes.index(axis)] for axis in range(3))
    spacing = tuple(seen.pixdim[axes.index(axis)] for axis in range(3))
    points = PointSampling(_from_end(orientation), scale.ends)
    preprocessing = Preprocessing(
        spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
        clip=scale.clip,
        mean=scale.mean,
        std=scale.std,
        standardised=scale.standardised,
        padding_value=0.0,
        points=points,
    )
    return Before((axes[0], axes[1], axes[2]), orientation, preprocessing, seen.notes)


def read_window(config: BundleConfig) -> Window:
    """The `inferer`.

    Raises:
        PackageError: it is no sliding window, or one that is unlike ours.
    """
    part = config.part("inferer")
    if part.kind not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt"):
        raise PackageError(part.where, part.target, "SlidingWindowInferer: an image may be larger than memory")
    part.only("roi_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval", *_SOFTWARE)
    part.must("padding_mode", "constant", "replicate")
    part.must("mode", "constant", "gaussian")
    part.must("sigma_scale", 0.125)
    z, y, x = part.numbers("roi_size", 3)
    if any(n < 1 or n != int(n) for n in (z, y, x)):
        raise part.refuse("roi_size", "three whole numbers above 0")
    overlaps = part.numbers("overlap", 3) if "overlap" in part.given else (0.25,) * 3
    if len(set(overlaps)) > 1:
        raise part.refuse("overlap", "one number, the same along each axis")
    notes = []
    if part.value("mode", "constant") == "constant":
        notes.append(
            "Its authors give all of a patch the same weight where patches overlap; here its middle counts more."
        )
    fill = None if part.value("padding_mode", "constant") == "replicate" else part.number("cval", 0.0)
    return Window((int(z), int(y), int(x)), overlaps[0], fill, tuple(notes))


def read_after(config: BundleConfig) -> After:
    """The transforms of `postprocessing`.

    Raises:
        PackageError: one is unknown here, or they do not say how structures are decided.
    """
    argmax, threshold, notes = False, None, []
    for step in config.parts("postprocessing#transforms"):
        match transform_name(step):
            case "Activations":
                step.only("keys", "softmax", "sigmoid")
                argmax = argmax or step.flag("softmax", default=False)
                threshold = 0.5 if step.flag("sigmoid", default=False) else threshold
            case "AsDiscrete":
                step.only("keys", "argmax", "threshold", "to_onehot")
                argmax = argmax or step.flag("argmax", default=False)
                threshold = step.number("threshold") if "threshold" in step.given else threshold
            case "Invert":
                if step.flag("nearest_interp", default=True):
                    notes.append(
                        "Its authors bring its drawing back to the image by the nearest voxel; here the network's "
                        "logits are interpolated, so that borders are smooth where its voxels are larger."
                    )
            case name if name in _OURS_INSTEAD:
                notes.append(f"Its authors' {step.kind} {_OURS_INSTEAD[name]}.")
            case name if name not in _NOTHING_TO_DO:
                known = ", ".join(f"{one}d" for one in ("Activations", "AsDiscrete", "Invert", *_OURS_INSTEAD))
                raise PackageError(step.where, step.target, f"one of {known}")
    if argmax == (threshold is not None):
        found = "both an argmax and a threshold" if argmax else "neither an argmax nor a threshold"
        raise PackageError(f"{config.where}: postprocessing", found, "one of them, to decide what is drawn")
    if threshold is not None and not 0 < threshold < 1:
        raise PackageError(f"{config.where}: postprocessing", f"threshold {threshold}", "between 0 and 1")
    return After(threshold, tuple(notes))


def with_window(before: Before, window: Window) -> tuple[Preprocessing, tuple[int, int, int]]:
    """The preprocessing with what surrounds small images, and the patch (z, y, x)."""
    z, y, x = (window.patch[before.order.index(axis)] for axis in range(3))
    assert before.preprocessing.points is not None  # read_before makes it
    points = replace(before.preprocessing.points, least_shape_zyx=(z, y, x), fill=window.fill)
    return replace(before.preprocessing, points=points), (z, y, x)


def transform_name(step: BundlePart) -> str:
    """What a dictionary transform is called without its suffix.

    Raises:
        PackageError: it is not one of MONAI's, or none for dictionaries.
    """
    package, _, kind = step.target.rpartition(".")
    if (package and not package.startswith("monai.transforms")) or not _SUFFIX.search(kind):
        raise PackageError(step.where, step.target, "a dictionary transform of MONAI's own, by its name")
    return _SUFFIX.sub("", kind)


def _from_end(orientation: str) -> tuple[bool, bool, bool]:
    z, y, x = (here != there for here, there in zip(orientation, _CANONICAL, strict=True))
    return z, y, x


def _orientation(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "axcodes", "labels", "as_closest_canonical", "allow_missing_keys")
    letters = step.value("axcodes")
    if step.flag("as_closest_canonical", default=False):
        letters = "RAS"
    if not isinstance(letters, str) or sorted(_AXIS.get(letter, 9) for letter in letters) != [0, 1, 2]:
        raise step.refuse("axcodes", "three letters such as RAS")
    if seen.pixdim:
        raise PackageError(step.where, "comes after Spacingd", "Orientationd before Spacingd")
    return replace(seen, axcodes=letters)


def _spacing(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "pixdim", "mode", "padding_mode", "align_corners", "diagonal", "dtype", "allow_missing_keys")
    mode = step.value("mode", "bilinear")
    if mode not in ("bilinear", ["bilinear"], 1):
        raise step.refuse("mode", "bilinear")
    step.must("padding_mode", "border")
    step.must("diagonal", False)
    if not seen.axcodes:
        raise PackageError(step.where, "comes before Orientationd", "Orientationd before Spacingd")
    if seen.scale is not None:
        raise PackageError(step.where, "comes after what scales values", "Spacingd before it")
    return replace(seen, pixdim=step.numbers("pixdim", 3))


def _scale_range(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "a_min", "a_max", "b_min", "b_max", "clip", "dtype", "allow_missing_keys")
    low, high, first, last = (step.number(key) for key in ("a_min", "a_max", "b_min", "b_max"))
    if not (low < high and first < last):
        raise step.refuse("a_min", "a_min below a_max, b_min below b_max")
    std = (high - low) / (last - first)
    clip = (low, high) if step.flag("clip", default=False) else (-WIDEST, WIDEST)
    return _scaled(step, seen, _Scale(clip, low - first * std, std))


def _normalize(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "subtrahend", "divisor", "nonzero", "channel_wise", "dtype", "allow_missing_keys")
    nonzero = step.flag("nonzero", default=False)
    if step.value("subtrahend") is None and step.value("divisor") is None:
        return _scaled(step, seen, _Scale(standardised=Standardised.NONZERO if nonzero else Standardised.IMAGE))
    if nonzero:
        raise step.refuse("nonzero", "false beside numbers that are given")
    (mean,), (std,) = step.numbers("subtrahend", 1), step.numbers("divisor", 1)
    if std <= 0:
        raise step.refuse("divisor", "a number above 0")
    return _scaled(step, seen, _Scale(mean=mean, std=std))


def _scale_ends(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "minv", "maxv", "channel_wise", "dtype", "allow_missing_keys")
    ends = step.number("minv", 0.0), step.number("maxv", 1.0)
    if not ends[0] < ends[1]:
        raise step.refuse("minv", "minv below maxv")
    if seen.scale is not None and seen.scale.standardised is not None and seen.scale.ends is None:
        return replace(seen, scale=replace(seen.scale, ends=ends))
    return _scaled(step, seen, _Scale(ends=ends))


def _crop(step: BundlePart, seen: _Seen) -> _Seen:
    step.only("keys", "source_key", "margin", "allow_smaller", "allow_missing_keys", "start_coord_key", "end_coord_key")
    if not seen.pixdim or seen.scale is None or seen.scale.standardised is not None or seen.scale.ends is not None:
        raise PackageError(
            step.where, "cuts off what values are then scaled by", "CropForegroundd after fixed ranges of values"
        )
    note = "Its authors cut off what surrounds the values above 0; here patches outside the body are left out instead."
    return replace(seen, notes=(*seen.notes, note))


def _scaled(step: BundlePart, seen: _Seen, scale: _Scale) -> _Seen:
    if not seen.pixdim:
        raise PackageError(step.where, "comes before Spacingd", "values scaled after Spacingd")
    if seen.scale is not None:
        raise PackageError(
            step.where, f"{step.kind} after another scaling", "one, or NormalizeIntensityd and then ScaleIntensityd"
        )
    return replace(seen, scale=scale)


_BEFORE: dict[str, Callable[[BundlePart, _Seen], _Seen]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _scale_range,
    "NormalizeIntensity": _normalize,
    "ScaleIntensity": _scale_ends,
    "CropForeground": _crop,
}
