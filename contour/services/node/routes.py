"""Which protocol an image series is drawn by and who receives the result: the first route that matches."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from contour.dicom.folder import FolderSeries
from contour.dicom.identity import Texts
from contour.dicom.slice_header import Tag, Values
from contour.inference.locate import SITE_PART, Location
from contour.services.node.settings import Route


@dataclass(frozen=True)
class Arrival:
    """What routes look at: who sent a series to whom, and what its header says of it."""

    calling: str
    called: str
    modality: str
    body_part: str = ""
    study_description: str = ""
    series_description: str = ""


@dataclass(frozen=True)
class Choice:
    """The route that was chosen (None: nothing is drawn), and why each route before it was not."""

    route: Route | None
    passed_over: tuple[str, ...] = ()


def arrival_of(series: FolderSeries, calling: str, called: str) -> Arrival:
    """What the first slice of a series says of it.

    Raises:
        InputRefused: its character set is none.
    """
    values, texts = Values(series.slices[0]), Texts(series.slices[0])
    return Arrival(
        calling=calling,
        called=called,
        modality=values.text(Tag.MODALITY),
        body_part=values.text(Tag.BODY_PART_EXAMINED),
        study_description=texts.read(Tag.STUDY_DESCRIPTION),
        series_description=texts.read(Tag.SERIES_DESCRIPTION),
    )


def may_match(routes: tuple[Route, ...], arrival: Arrival) -> bool:
    """Whether a route is for a series by its sender and header, whatever the image shows."""
    return any(not why_not(route, arrival) for route in routes)


def must_look(routes: tuple[Route, ...], arrival: Arrival) -> bool:
    """Whether the image itself must be looked at to choose: a route that asks for it comes first of those that fit."""
    fitting = (route for route in routes if not why_not(route, arrival))
    return next((route.looks for route in fitting), False)


def choose(routes: tuple[Route, ...], arrival: Arrival, location: Location | None = None) -> Choice:
    """The first route that matches.

    Reasons name the attribute and what the route wants, never a description's own words: those may name a patient.
    """
    passed_over: list[str] = []
    for route in routes:
        reason = why_not(route, arrival) or (why_not_seen(route, location) if route.looks else "")
        if not reason:
            return Choice(route, tuple(passed_over))
        passed_over.append(f"{route.name}: {reason}")
    return Choice(None, tuple(passed_over))


def why_not(route: Route, arrival: Arrival) -> str:
    """Why a route is not for a series, by its sender and header; empty if it may be."""
    if route.calling and arrival.calling not in route.calling:
        return f"the calling AE is not {_any_of(route.calling)}"
    if route.called and arrival.called not in route.called:
        return f"the called AE is not {_any_of(route.called)}"
    if route.modality is not None and arrival.modality != route.modality:
        return f"the modality is not {route.modality}"
    for name, patterns, text in (
        ("Body Part Examined", route.body_part, arrival.body_part),
        ("Study Description", route.study_description, arrival.study_description),
        ("Series Description", route.series_description, arrival.series_description),
    ):
        if patterns and not any(fnmatchcase(text.casefold(), pattern.casefold()) for pattern in patterns):
            return f"{name} does not fit {_any_of(patterns)}"
    return ""


def why_not_seen(route: Route, location: Location | None) -> str:
    """Why a route is not for an image, by what the coarse network sees on it; empty if it is."""
    if location is None:
        return "no network that locates organs is installed for the modality"
    if location.turned or location.doubt:
        return "where in the body the image lies is in doubt"
    if route.sites and not set(route.sites) & set(location.sites):
        return f"of {_any_of(route.sites)} nothing is well in view"
    hidden = [name for name in route.shows if location.visible_part(name) < SITE_PART]
    return f"{', '.join(hidden)} is not in view" if hidden else ""


def _any_of(values: tuple[str, ...]) -> str:
    return " or ".join(values)
