"""The courses of the phantom's tubes: (x, y, z, radius) knots in mm, in the frame of `thorax_shapes`."""

from contour.imaging.solids import Tube

# fmt: off  (knots read as tables)


def aorta() -> Tube:
    """From its root inside the heart over the arch down to the abdomen."""
    return Tube.through(
        (6, -106, -26, 15.5),
        (-6, -113, -4, 16),
        (-10, -112, 20, 16),
        (-4, -104, 40, 15),
        (8, -84, 50, 13.5),
        (19, -58, 44, 12.5),
        (24, -38, 28, 12),
        (25, -32, 0, 12),
        (25, -36, -40, 11.5),
        (23, -48, -75, 11),
        (18, -66, -110, 10.5),
        (13, -86, -150, 10),
        (10, -106, -205, 9),
        (8, -124, -262, 8.5),
        (8, -134, -300, 8.5),
    )


def aortic_branches() -> list[Tube]:
    """Brachiocephalic trunk with the right carotid, left carotid, left subclavian artery."""
    return [
        Tube.through((0, -100, 48, 6.5), (-14, -100, 74, 6), (-24, -98, 100, 4.5), (-30, -108, 175, 3.8)),
        Tube.through((10, -84, 50, 4.5), (16, -94, 82, 4.2), (26, -104, 120, 3.8), (30, -112, 175, 3.6)),
        Tube.through((17, -68, 50, 5), (24, -72, 78, 4.8), (46, -74, 106, 4.5), (90, -60, 118, 4)),
    ]


def veins_and_pulmonary_arteries() -> list[Tube]:
    """Pulmonary trunk and arteries, caval and brachiocephalic veins, jugular veins."""
    return [
        Tube.through((31, -124, -6, 14), (31, -112, 8, 13.5), (27, -98, 16, 12.5)),
        Tube.through((27, -98, 16, 11), (6, -88, 10, 10), (-22, -80, 6, 9), (-40, -74, -2, 6)),
        Tube.through((27, -98, 16, 11), (40, -78, 19, 10), (50, -64, 8, 7)),
        Tube.through((-16, -98, -22, 9), (-18, -96, 10, 9.5), (-18, -102, 46, 9)),
        Tube.through((-18, -102, 46, 8), (2, -120, 60, 6.5), (26, -110, 84, 6), (44, -92, 108, 6)),
        Tube.through((-18, -102, 46, 8), (-26, -106, 84, 6.5), (-44, -92, 108, 6)),
        Tube.through(
            (-6, -95, -60, 11),
            (-7, -92, -100, 10.5),
            (-10, -102, -170, 10),
            (-12, -128, -260, 10),
            (-12, -138, -300, 10),
        ),
        Tube.through((-36, -112, 105, 6), (-40, -112, 175, 5.5)),
        Tube.through((36, -112, 105, 6), (40, -112, 175, 5.5)),
    ]


def oesophagus() -> Tube:
    """From the neck to the stomach."""
    return Tube.through(
        (0, -107, 175, 6),
        (1, -100, 128, 6.2),
        (1, -87, 100, 6.4),
        (4, -76, 76, 6.4),
        (6, -68, 50, 6.4),
        (9, -54, 20, 6.6),
        (11, -46, -6, 6.8),
        (11, -47, -34, 7),
        (13, -56, -56, 7.6),
        (19, -70, -76, 8.4),
        (30, -82, -93, 9),
        (40, -86, -98, 9),
    )


def trachea() -> Tube:
    """The lumen from the neck to the carina."""
    return Tube.through(
        (0, -128, 175, 9.2),
        (0, -116, 130, 9.2),
        (0, -103, 100, 9),
        (-1, -94, 78, 9),
        (-3, -84, 52, 8.8),
        (-2, -75, 28, 9.2),
        (0, -69, 12, 10),
        (0, -66, 6, 9),
    )


def bronchi() -> list[Tube]:
    """The lumens of the main bronchi and the first lobar ones."""
    return [
        Tube.through((0, -68, 12, 8.6), (-18, -64, -4, 7.4), (-30, -62, -18, 6.4), (-34, -56, -48, 4.2)),
        Tube.through((0, -68, 12, 8.4), (22, -62, -3, 6.8), (42, -60, -16, 5.8), (50, -46, -48, 3.8)),
        Tube.through((-18, -64, -3, 5.6), (-40, -62, 4, 4.4), (-54, -60, 26, 2.8)),
        Tube.through((40, -60, -14, 5), (54, -72, -4, 4), (62, -84, 18, 2.6)),
        Tube.through((-32, -62, -26, 4.2), (-48, -90, -44, 2.6)),
    ]


def liver_veins() -> list[Tube]:
    """The three hepatic veins and the portal vein."""
    return [
        Tube.through((-6, -92, -72, 6), (-48, -82, -98, 4.5), (-92, -70, -124, 2.5)),
        Tube.through((-6, -92, -72, 6), (-38, -116, -92, 4), (-70, -146, -110, 2.2)),
        Tube.through((-6, -92, -72, 5), (16, -124, -96, 3.6), (44, -144, -104, 2.2)),
        Tube.through((-22, -108, -140, 6.5), (-52, -102, -132, 5), (-96, -104, -138, 2.6)),
        Tube.through((-52, -102, -132, 4.2), (-78, -132, -130, 2.4)),
    ]


def stomach() -> Tube:
    """From the fundus to the pylorus, outer wall."""
    return Tube.through(
        (56, -84, -98, 24),
        (62, -100, -114, 32),
        (64, -124, -138, 28),
        (52, -146, -164, 22),
        (20, -150, -184, 18),
        (-12, -140, -186, 13),
    )


def bowel() -> list[Tube]:
    """Colon, small bowel and duodenum at the front of the lower slices."""
    return [
        Tube.through(
            (-96, -112, -290, 20),
            (-94, -116, -245, 19),
            (-70, -150, -222, 17),
            (0, -164, -226, 16),
            (66, -158, -214, 16),
            (102, -110, -190, 15),
            (104, -92, -240, 15),
            (104, -92, -290, 15),
        ),
        Tube.through(
            (-30, -120, -262, 13),
            (10, -132, -250, 12),
            (48, -120, -262, 13),
            (20, -140, -284, 12),
            (-30, -150, -276, 13),
        ),
        Tube.through((-16, -118, -192, 12), (-30, -112, -225, 12), (0, -122, -246, 11)),
    ]
