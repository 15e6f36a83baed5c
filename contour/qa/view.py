"""The field of view: what an image shows, what lies outside, and whether left and right are where they should be."""

from contour.core.errors import InputRefused, Reason
from contour.core.nomenclature import whole_name
from contour.core.protocol import Protocol, ProtocolStructure
from contour.core.report import Finding, Severity
from contour.core.structures import StructureSet
from contour.inference.locate import SITE_PART, End, Location
from contour.inference.organs import organ
from contour.qa.structures import centroid_lps_mm

SIDE_MM = 16.0  # on the other side of the body's middle by more than this is no matter of posture
# Their letter says which chamber, and a chamber may lie on either side.
_CHAMBERS = ("Atrium", "Ventricle", "A_Pulmonary", "V_Pulmonary")


def refuse_turned(location: Location) -> None:
    """Refuses an image that shows a body only once it is turned: stored as if the patient had lain otherwise.

    Raises:
        InputRefused: it does; Patient Position (DICOM PS3.3 C.7.3.1.1.2) or Image Orientation (Patient) is wrong.
    """
    if location.turned:
        found = f"shows a body only with {location.turned}: it is stored as if the patient had lain otherwise"
        allowed = "an image whose Patient Position and Image Orientation (Patient) say how the patient lay"
        raise InputRefused(Reason.WRONG_ORIENTATION, "image", found, allowed)


def refuse_other_site(location: Location, protocol: Protocol) -> None:
    """Refuses an image that shows other parts of the body than those the protocol is for.

    Structures that run on through several of them (`ProtocolStructure.runs_on`) do not make a site.

    Raises:
        InputRefused: of none of the required organs that can be told a quarter is in view, nor anything else of their
            sites, while another site is.
    """
    required = (rule.name for rule in protocol.structures if rule.required and not rule.runs_on)
    telling = {name: known.site for name in required if (known := organ(name)) and location.tells_of(name)}
    if location.doubt or not telling or not location.sites or set(telling.values()) & set(location.sites):
        return
    if any(location.visible_part(name) >= SITE_PART for name in telling):
        return
    shown = ", ".join(s.name for s in location.sightings)
    found = f"shows the {' and '.join(location.sites)} ({shown})"
    allowed = f"for protocol {protocol.name} an image of {', '.join(telling)}"
    raise InputRefused(Reason.WRONG_SITE, "image", found, allowed)


def in_view(location: Location) -> Finding:
    """What was seen, and which of it goes on beyond the image."""
    seen = "; ".join(f"{s.name} (cut {' and '.join(s.cut)})" if s.cut else s.name for s in location.sightings)
    return Finding("in-view", Severity.INFO, f"Seen coarsely on the image: {seen}.")


def in_doubt(location: Location) -> Finding:
    """Why nothing was concluded from what was seen."""
    message = f"Where in the body the image lies is in doubt: {location.doubt}. All of it was searched for everything."
    return Finding("location-in-doubt", Severity.CHECK, message)


def outside_view(rule: ProtocolStructure, end: End, location: Location) -> Finding:
    """The stated absence of a structure that lies beyond an end of the image."""
    reaching = [s.name for s in location.sightings if end in s.cut]
    told_by = f"{', '.join(reaching)} go on there" if reaching else "the organs in view leave it no room"
    last = "lowest" if end is End.BELOW else "highest"
    message = f"{rule.name} lies {end} the {last} slice: it is not seen, and {told_by}. It was not drawn."
    return Finding("outside-view", Severity.CHECK if rule.required else Severity.INFO, message, rule.name)


def check_sides(structures: StructureSet, location: Location) -> tuple[Finding, ...]:
    """Structures of one side that lie on the other side of the body, as the coarse network sees it."""
    middle = location.middle_lps_x_mm
    if location.doubt or middle is None:
        return ()
    findings = []
    for structure in structures.structures:
        name = whole_name(structure.name)
        if structure.empty or not name.endswith(("_L", "_R")) or name.startswith(_CHAMBERS):
            continue
        to_the_left = centroid_lps_mm(structure, structures)[0] - middle
        wrong_mm = -to_the_left if name.endswith("_L") else to_the_left
        if wrong_mm > SIDE_MM:
            message = f"{structure.name} lies {wrong_mm:.0f} mm on the other side of the body's middle."
            findings.append(Finding("wrong-side", Severity.STOP, message, structure.name))
    return tuple(findings)
