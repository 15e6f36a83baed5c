"""A folder of DICOM files as one checked image series, or the reason why not."""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from contour.core.checksum import file_sha256
from contour.core.errors import InputRefused, Reason
from contour.core.report import Finding, Severity
from contour.core.volume import Modality, Volume
from contour.dicom.folder import FolderContents, FolderSeries, printable, scan_files, scan_folder, shown, sop_class_of
from contour.dicom.identity import Texts, read_identity
from contour.dicom.part10 import FileElements
from contour.dicom.pixels import DecodedVoxels, padding_in_tissue, read_voxels
from contour.dicom.series import ImageSeries, ReadLimits, SeriesFiles, SeriesListing
from contour.dicom.slice_header import UNSPECIFIED_RESCALE_TYPE, SliceHeader, Tag, Values, parse_slice
from contour.dicom.stack import MIN_SLICES, Stack, arrange


def read_series(
    folder: Path, *, series_instance_uid: str | None = None, limits: ReadLimits | None = None
) -> ImageSeries:
    """The CT or MR series in `folder` and below: sorted, checked, and decoded to HU (CT) or rescaled values (MR).

    Without `series_instance_uid` there must be exactly one series with slices to stack. RT objects, localizers and
    images without a position are set aside with a finding. CT pixels that hold the padding value become air.

    Raises:
        InputRefused: the folder, the series or one of its files cannot be trusted; see `contour.core.errors.Reason`.
    """
    limits = limits or ReadLimits()
    return _read(scan_folder(folder, limits), series_instance_uid, limits)


def read_series_files(
    files: Sequence[Path], series_instance_uid: str, *, limits: ReadLimits | None = None
) -> ImageSeries:
    """The CT or MR series that `files` form, wherever they lie: an archive mixes series and spreads one over folders.

    As `read_series`, but of these files each must be there.

    Raises:
        InputRefused: a file is missing, or as `read_series`.
    """
    limits = limits or ReadLimits()
    paths = sorted(file.absolute() for file in files)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        found = f"is missing ({len(missing)} of {len(paths)} files)"
        raise InputRefused(Reason.UNREADABLE_FILE, printable(str(missing[0])), found, "all files of the series")
    folder = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    return _read(scan_files(folder, paths, limits), series_instance_uid, limits)


def read_same_series(source: SeriesFiles, *, limits: ReadLimits | None = None) -> ImageSeries:
    """The series that was read from these files before, if it is still the same one.

    Raises:
        InputRefused: its content is another by now, or as `read_series_files`.
    """
    series = read_series_files(source.files, source.series_instance_uid, limits=limits)
    if series.content_sha256 != source.content_sha256:
        where, found = f"series {source.series_instance_uid}", f"content {series.content_sha256}"
        raise InputRefused(Reason.CHANGED_SERIES, where, found, f"{source.content_sha256}, as it was read before")
    return series


def _read(contents: FolderContents, series_instance_uid: str | None, limits: ReadLimits) -> ImageSeries:
    chosen = _chosen(contents, series_instance_uid)
    if contents.homeless:
        raise contents.homeless[0]
    if chosen.damaged:
        raise _problem(chosen.damaged[0])
    files, repeats = _distinct_instances(chosen.slices)
    _check_size_of_files(files, limits)
    stack = arrange([parse_slice(f) for f in files])
    _check_size_of_volume(stack, limits)
    voxels = read_voxels(stack.slices, limits.in_file_above_bytes)
    by_name = {f.name: f for f in files}
    return _assembled(contents, chosen, stack, voxels, (by_name[stack.slices[0].name], repeats))


def find_series(folder: Path, limits: ReadLimits | None = None) -> tuple[SeriesListing, ...]:
    """The CT and MR series in `folder` and below, each with what speaks against reading it; nothing is decoded.

    Raises:
        InputRefused: there is no such folder, or it holds more files than allowed.
    """
    limits = limits or ReadLimits()
    return tuple(_listing(series, limits) for series in scan_folder(folder, limits).series)


def check_series(series: FolderSeries, limits: ReadLimits | None = None) -> None:
    """Looks over one series of `scan_folder` as far as headers tell: its kind, its sizes and its geometry.

    Raises:
        InputRefused: what reading it would be refused for. Decoding may still find a damaged file.
    """
    limits = limits or ReadLimits()
    _check_kind(series)
    if series.damaged:
        raise _problem(series.damaged[0])
    files, _ = _distinct_instances(series.slices)
    _check_size_of_files(files, limits)
    _check_size_of_volume(arrange([parse_slice(f) for f in files]), limits)
    read_identity(files[0])


def _listing(series: FolderSeries, limits: ReadLimits) -> SeriesListing:
    images = series.slices or series.enhanced or series.localizers or series.without_position or series.damaged
    values = Values(images[0])
    try:
        description = Texts(images[0]).read(Tag.SERIES_DESCRIPTION)
    except InputRefused:  # an unknown character set; `problem` says so
        description = ""
    return SeriesListing(
        series_instance_uid=series.uid,
        modality=values.text(Tag.MODALITY),
        sop_class_uid=sop_class_of(images[0]),
        series_description=description,
        slices=len(series.slices),
        problem=_problem_of(series, limits),
    )


def _problem_of(series: FolderSeries, limits: ReadLimits) -> str | None:
    try:
        check_series(series, limits)
    except InputRefused as refused:
        return str(refused)
    return None


def _chosen(contents: FolderContents, series_instance_uid: str | None) -> FolderSeries:
    if series_instance_uid is not None:
        named = [s for s in contents.series if s.uid == series_instance_uid]
        if not named:
            allowed = "one of: " + _described(contents.series)
            found = f"no images of series {series_instance_uid}"
            raise InputRefused(Reason.UNKNOWN_SERIES, str(contents.folder), found, allowed)
        _check_kind(named[0])
        return named[0]
    candidates = [s for s in contents.series if len(s.slices) + len(s.damaged) >= MIN_SLICES]
    if len(candidates) > 1:
        found = f"{len(candidates)} series: {_described(candidates)}"
        raise InputRefused(Reason.SEVERAL_SERIES, str(contents.folder), found, "one series, or the UID of one of them")
    if candidates:
        return candidates[0]
    if contents.homeless:
        raise contents.homeless[0]
    for series in sorted(contents.series, key=lambda s: not s.enhanced):
        _check_kind(series)
    if contents.series:
        return contents.series[0]  # a single slice: `arrange` refuses it
    aside = "; ".join(f.message for f in contents.findings)
    found = f"{contents.files} files, none of them a CT or MR image. {aside}".strip()
    raise InputRefused(Reason.NO_IMAGES, str(contents.folder), found, "CT or MR images, one slice a file")


def _check_kind(series: FolderSeries) -> None:
    """Refuse a series without a single slice to stack, saying what it holds instead."""
    if series.slices or series.damaged:
        return
    where = f"series {series.uid}"
    if series.enhanced:
        found = f"{len(series.enhanced)} enhanced multi-frame image(s), such as {series.enhanced[0].name}"
        allowed = "CT or MR Image Storage, one slice a file; most scanners and archives export both"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, where, found, allowed)
    if series.without_position:
        names = shown([f.name for f in series.without_position])
        found = f"no {Tag.IMAGE_POSITION_PATIENT.label}"
        raise InputRefused(Reason.MISSING_ATTRIBUTE, names, found, "images that state their position")
    found = f"{len(series.localizers)} localizer(s) and no slices"
    raise InputRefused(Reason.NO_IMAGES, where, found, "CT or MR slices")


def _described(series: tuple[FolderSeries, ...] | list[FolderSeries]) -> str:
    lines = []
    for one in series:
        image = (one.slices or one.enhanced or one.localizers or one.without_position or one.damaged)[0]
        values = Values(image)
        lines.append(f"{one.uid or '(no UID)'} ({values.text(Tag.MODALITY)}, {len(one.slices)} slices)")
    return "; ".join(lines) or "none, the folder holds no CT or MR series"


def _problem(elements: FileElements) -> InputRefused:
    if elements.problem is None:
        raise ValueError(f"{elements.name} has no problem")
    return elements.problem


def _distinct_instances(files: tuple[FileElements, ...]) -> tuple[list[FileElements], tuple[str, ...]]:
    """The files without byte-identical copies of one instance, and the names of the copies."""
    first: dict[str, FileElements] = {}
    repeats = []
    for elements in files:
        uid = Values(elements).text(Tag.SOP_INSTANCE_UID)
        known = first.setdefault(uid, elements)
        if known is elements or not uid:
            continue
        if known.file_bytes != elements.file_bytes or file_sha256(known.file) != file_sha256(elements.file):
            where = f"{known.name} and {elements.name}"
            found = f"the same SOP Instance UID {uid} with different content"
            raise InputRefused(Reason.DUPLICATE_INSTANCE, where, found, "one file for an instance, or exact copies")
        repeats.append(elements.name)
    copies = set(repeats)
    return [f for f in files if f.name not in copies], tuple(repeats)


def _check_size_of_files(files: list[FileElements], limits: ReadLimits) -> None:
    if len(files) > limits.max_slices:
        found, allowed = f"{len(files)} slices", f"at most {limits.max_slices}"
        raise InputRefused(Reason.TOO_LARGE, "the series", found, allowed)
    for elements in files:
        if elements.file_bytes > limits.max_file_bytes:
            found, allowed = f"{elements.file_bytes} bytes", f"at most {limits.max_file_bytes} for one slice"
            raise InputRefused(Reason.TOO_LARGE, elements.name, found, allowed)


def _check_size_of_volume(stack: Stack, limits: ReadLimits) -> None:
    z, y, x = stack.geometry.shape_zyx
    if z * y * x > limits.max_voxels:
        found, allowed = f"{z} x {y} x {x} = {z * y * x} voxels", f"at most {limits.max_voxels}"
        raise InputRefused(Reason.TOO_LARGE, "the series", found, allowed)


def _assembled(
    contents: FolderContents,
    chosen: FolderSeries,
    stack: Stack,
    voxels: DecodedVoxels,
    first_and_repeats: tuple[FileElements, tuple[str, ...]],
) -> ImageSeries:
    first, repeats = first_and_repeats
    identity = read_identity(first)
    header = stack.slices[0]
    findings = (
        *contents.findings,
        *_other_series(contents, chosen),
        *_set_aside(chosen, repeats),
        *stack.findings,
        *_pixel_findings(stack, voxels),
        *identity.findings,
    )
    series = ImageSeries(
        volume=Volume(voxels.voxels_zyx, stack.geometry, Modality(header.modality)),
        identity=identity.study,
        series_instance_uid=header.series_instance_uid,
        series_description=identity.series_description,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uids=tuple(s.sop_instance_uid for s in stack.slices),
        files=tuple(s.file for s in stack.slices),
        findings=findings,
        content_sha256="",
        specific_character_set=identity.specific_character_set,
        position_reference_indicator=Texts(first).read(Tag.POSITION_REFERENCE_INDICATOR),
        patient_position=Values(first).text(Tag.PATIENT_POSITION),
        off_grid_mm=stack.off_grid_mm,
    )
    return replace(series, content_sha256=_content_sha256(series, voxels.digests))


def _content_sha256(series: ImageSeries, digests: tuple[bytes, ...]) -> str:
    """Over UIDs, geometry and voxels; each part with its length, so that no two contents read alike."""
    geometry = series.volume.geometry
    numbers = (*geometry.shape_zyx, *geometry.spacing_zyx_mm, *geometry.origin_lps_mm, *sum(geometry.axes_lps, ()))
    uids = (
        series.sop_class_uid,
        series.identity.study_instance_uid,
        series.series_instance_uid,
        geometry.frame_of_reference_uid,
        *series.sop_instance_uids,
    )
    digest = hashlib.sha256(b"contour image series 1\n")
    digest.update(str(series.volume.voxels_zyx.dtype).encode())
    digest.update(struct.pack(f"<{len(numbers)}d", *numbers))
    digest.update("\n".join(uids).encode())
    digest.update(b"".join(digests))
    return digest.hexdigest()


def _other_series(contents: FolderContents, chosen: FolderSeries) -> tuple[Finding, ...]:
    others = [s for s in contents.series if s is not chosen]
    if not others:
        return ()
    return (Finding("other-series", Severity.INFO, f"Not read, other series in the folder: {_described(others)}."),)


def _set_aside(chosen: FolderSeries, repeats: tuple[str, ...]) -> tuple[Finding, ...]:
    findings = []
    if chosen.localizers:
        names = shown([f.name for f in chosen.localizers])
        findings.append(Finding("localizers", Severity.INFO, f"Set aside, localizers: {names}."))
    if chosen.without_position:
        names = shown([f.name for f in chosen.without_position])
        message = f"Set aside, images of the series without {Tag.IMAGE_POSITION_PATIENT.label}: {names}."
        findings.append(Finding("no-position", Severity.CHECK, message))
    if chosen.enhanced:
        names = shown([f.name for f in chosen.enhanced])
        findings.append(Finding("enhanced", Severity.CHECK, f"Set aside, enhanced multi-frame images: {names}."))
    if repeats:
        message = f"Read once, exact copies of other files: {shown(list(repeats))}."
        findings.append(Finding("copies", Severity.INFO, message))
    return tuple(findings)


def _pixel_findings(stack: Stack, voxels: DecodedVoxels) -> tuple[Finding, ...]:
    findings = []
    if voxels.padded:
        message = f"{voxels.padded} padding pixels were made air (-1000 HU)."
        findings.append(Finding("padding", Severity.INFO, message))
    unlikely = _indices(stack, padding_in_tissue)
    if unlikely:
        message = "The padding value lies among tissue values: pixels that hold it were left as they are."
        findings.append(Finding("padding-in-tissue", Severity.CHECK, message, slices=unlikely))
    if stack.slices[0].modality == "CT" and stack.slices[0].rescale_type == UNSPECIFIED_RESCALE_TYPE:
        message = "The rescaled values are taken as HU, but their type is stated as unspecified."
        findings.append(Finding("rescale-type-unspecified", Severity.CHECK, message))
    lossy = _indices(stack, lambda header: header.lossy)
    if lossy:
        message = f"{len(lossy)} slices went through lossy compression."
        findings.append(Finding("lossy-compression", Severity.CHECK, message, slices=lossy))
    return tuple(findings)


def _indices(stack: Stack, holds: Callable[[SliceHeader], bool]) -> tuple[int, ...]:
    return tuple(z for z, header in enumerate(stack.slices) if holds(header))
