"""The patients of the made archive: who is drawn how, under which names, with which mistakes.

Every habit that an archive shows is somebody's here: formal English, Russian and Kazakh names, shorthand, typing
errors, private codes, helper structures, a cord drawn in part, organs that one planner draws and the next does not.
"""

from dataclasses import dataclass
from enum import StrEnum

ISOCENTRE = "Isocentre"  # the one source that is a point, not a mask


class Spelling(StrEnum):
    """How an ROI's name relates to its organ's name."""

    TG263 = "TG-263"
    USUAL = "usual"
    SHORTHAND = "shorthand"
    TYPO = "typing error"
    PRIVATE = "private code"
    HELPER = "no organ"


class Defect(StrEnum):
    """A mistake put into a structure set on purpose."""

    SWAPPED_SIDES = "left and right exchanged"
    GAP = "slices without contours between slices with them"
    ISLAND = "a stray piece"
    WRONG_ORGAN = "drawn on another organ"
    SAME_AS_ANOTHER = "a copy of another structure"
    TOO_LARGE = "drawn with a margin"
    DANGLING_REFERENCES = "contours in the planes of the image name slices that do not exist"
    OFF_PLANE = "contours between the planes of the image"
    NO_CONTOURS = "listed without a contour"


class Layout(StrEnum):
    """How a patient's files lie in the archive."""

    FOLDERS = "a folder for each study and kind"
    FLAT = "all files of many patients in one folder"


@dataclass(frozen=True)
class RoiPlan:
    """One ROI to be drawn.

    `name` is the TG-263 name it should be mapped to, None for what a person must decide, `ignore` marks helpers.
    `source` is the true structure whose mask is drawn, where that is another than `name`. `part` limits the drawing
    to a fraction of the structure's slices, counted from the feet: (0.25, 0.8) leaves out a quarter below and a fifth
    above.
    """

    roi_name: str
    name: str | None
    spelling: Spelling = Spelling.USUAL
    source: str = ""
    ignore: bool = False
    part: tuple[float, float] | None = None
    defect: Defect | None = None


@dataclass(frozen=True)
class SetPlan:
    """One structure set: `approved`, and its date, decide which of several is in use."""

    label: str
    date: str
    rois: tuple[RoiPlan, ...]
    approved: bool = True


@dataclass(frozen=True)
class PatientPlan:
    """One patient: a planning CT with its sets, the last in use, and perhaps a second CT (with the last set's ROIs)."""

    patient_name: str
    sex: str
    layout: Layout
    sets: tuple[SetPlan, ...]
    second_ct: bool = False
    character_set: str = "ISO_IR 192"


def _tg(*names: str) -> tuple[RoiPlan, ...]:
    return tuple(RoiPlan(name, name, Spelling.TG263) for name in names)


def _usual(*pairs: tuple[str, str]) -> tuple[RoiPlan, ...]:
    return tuple(RoiPlan(roi_name, name) for roi_name, name in pairs)


def _short(*pairs: tuple[str, str]) -> tuple[RoiPlan, ...]:
    return tuple(RoiPlan(roi_name, name, Spelling.SHORTHAND) for roi_name, name in pairs)


def _typo(*pairs: tuple[str, str]) -> tuple[RoiPlan, ...]:
    return tuple(RoiPlan(roi_name, name, Spelling.TYPO) for roi_name, name in pairs)


def _helper(roi_name: str, source: str) -> RoiPlan:
    return RoiPlan(roi_name, None, Spelling.HELPER, source, ignore=True)


_FORMAL = SetPlan(
    "PLAN",
    "20260105",
    (
        *_tg("Body", "Lung_L", "Lung_R", "Heart", "SpinalCord", "Esophagus", "Trachea", "GTV", "PTV"),
        _helper("Couch", "Couch"),
        _helper("ISO", ISOCENTRE),
    ),
)

_RUSSIAN_FIRST = SetPlan(
    "План 1",
    "20260110",
    _usual(("Контур тела", "Body"), ("Легкое левое", "Lung_L"), ("Легкое правое", "Lung_R")),
    approved=False,
)

_RUSSIAN_AGAIN = SetPlan(
    "План 2",
    "20260124",
    (
        *_RUSSIAN_FIRST.rois,
        *_usual(("Сердце", "Heart"), ("Пищевод", "Esophagus"), ("Трахея", "Trachea")),
        RoiPlan("Спинной мозг", "SpinalCord", part=(0.2, 0.75)),
        _helper("Опухоль", "GTV"),  # a target by a word: nothing that a network could learn for all patients
        _helper("Стол", "Couch"),
    ),
)

_ENGLISH_WORDS = SetPlan(
    "Chest",
    "20260203",
    (
        RoiPlan("Left Lung", "Lung_L", source="Lung_R", defect=Defect.SWAPPED_SIDES),
        RoiPlan("Right lung", "Lung_R", source="Lung_L", defect=Defect.SWAPPED_SIDES),
        *_usual(("heart", "Heart"), ("Spinal cord", "SpinalCord"), ("oesophagus", "Esophagus"), ("Liver", "Liver")),
        *_usual(("Kidney Left", "Kidney_L"), ("Rt Kidney", "Kidney_R"), ("External", "External")),
    ),
)

_RUSSIAN_SHORT = SetPlan(
    "ГРУДЬ",
    "20260211",
    (
        *_short(("ЛЕГ_Л", "Lung_L"), ("ЛЕГ_П", "Lung_R"), ("СП МОЗГ", "SpinalCord")),
        RoiPlan("сердце", "Heart", defect=Defect.GAP),
        RoiPlan("аорта", "A_Aorta", defect=Defect.DANGLING_REFERENCES),
        RoiPlan("ПЕЧЕНЬ", "Liver", defect=Defect.NO_CONTOURS),
        *_usual(("Наружный контур", "External"), ("Селезёнка", "Spleen")),
    ),
)

_ENGLISH_SHORT = SetPlan(
    "thorax",
    "20260217",
    (
        *_short(("lt lung", "Lung_L"), ("RT LUNG", "Lung_R"), ("cord", "SpinalCord"), ("eso", "Esophagus")),
        *_usual(("spleen", "Spleen"), ("Stomach", "Stomach"), ("GTVp", "GTVp")),
        RoiPlan("liver", "Liver", defect=Defect.ISLAND),
        _helper("PTV ring", "Ring"),
        RoiPlan("kv3", None, Spelling.PRIVATE, "Ring"),
    ),
)

_KAZAKH = SetPlan(
    "Жоспар",
    "20260302",
    (
        *_usual(("Дене", "Body"), ("Сол өкпе", "Lung_L"), ("Оң өкпе", "Lung_R"), ("Жүрек", "Heart")),
        *_usual(("Өңеш", "Esophagus"), ("Кеңірдек", "Trachea")),
        RoiPlan("Жұлын", "SpinalCord", part=(0.3, 0.85)),
        _helper("Ісік", "GTV"),
        _helper("Изоцентр", ISOCENTRE),
    ),
)

_KAZAKH_ABDOMEN = SetPlan(
    "Іш",
    "20260309",
    (
        *_usual(("Өкпе оң", "Lung_R"), ("Өкпе сол", "Lung_L"), ("Көкбауыр", "Spleen"), ("Қолқа", "A_Aorta")),
        *_usual(("Бүйрек оң", "Kidney_R"), ("Бүйрек сол", "Kidney_L"), ("жұлын", "SpinalCord")),
        RoiPlan("Бауыр", "Liver", source="Stomach", defect=Defect.WRONG_ORGAN),
    ),
)

_TYPING_ERRORS = SetPlan(
    "CHEST1",
    "20260316",
    (
        *_typo(("Lung Lefft", "Lung_L"), ("Lung Rigth", "Lung_R"), ("Haert", "Heart"), ("Trachae", "Trachea")),
        *_typo(("Spinal Crod", "SpinalCord"), ("Stomch", "Stomach"), ("Spleeen", "Spleen")),
        RoiPlan("Esofagus", "Esophagus", Spelling.TYPO, "Trachea", defect=Defect.SAME_AS_ANOTHER),
        *_usual(("BODY", "Body")),
    ),
)

_RUSSIAN_ERRORS = SetPlan(
    "Лёгкие",
    "20260323",
    (
        *_short(("Лёгкое Л", "Lung_L"), ("Лёгкое П", "Lung_R")),
        RoiPlan("Сердцее", "Heart", Spelling.TYPO, defect=Defect.TOO_LARGE),
        *_typo(("Пищивод", "Esophagus"), ("Спиной мозг", "SpinalCord")),
        *_usual(("Почка левая", "Kidney_L"), ("Почка прав.", "Kidney_R"), ("Желудок", "Stomach")),
    ),
)

_MIXED = SetPlan(
    "TH+АБД",
    "20260330",
    (
        *_short(("L_Lung", "Lung_L"), ("R_Lung", "Lung_R")),
        *_usual(("Сердце", "Heart"), ("spinal canal", "SpinalCanal"), ("Aorta", "A_Aorta"), ("Печень", "Liver")),
        RoiPlan("Trachea", "Trachea", Spelling.TG263, defect=Defect.OFF_PLANE),
        RoiPlan("ОАР1", None, Spelling.PRIVATE, "Esophagus"),  # noqa: RUF001 - in Cyrillic, as planners type
        _helper("Доза 95%", "Ring"),
    ),
)

PATIENTS = (
    PatientPlan("Smith^Anna", "F", Layout.FOLDERS, (_FORMAL,), character_set="ISO_IR 100"),
    PatientPlan("Иванов^Пётр", "M", Layout.FOLDERS, (_RUSSIAN_FIRST, _RUSSIAN_AGAIN), character_set="ISO_IR 144"),
    PatientPlan("Brown^John", "M", Layout.FLAT, (_ENGLISH_WORDS,), second_ct=True, character_set="ISO_IR 100"),
    PatientPlan("Ким^Ольга", "F", Layout.FLAT, (_RUSSIAN_SHORT,), character_set="ISO_IR 144"),
    PatientPlan("Lee^Min", "F", Layout.FOLDERS, (_ENGLISH_SHORT,), character_set="ISO_IR 100"),
    PatientPlan("Әлиева^Сәуле", "F", Layout.FOLDERS, (_KAZAKH,)),
    PatientPlan("Нұрланов^Ерлан", "M", Layout.FLAT, (_KAZAKH_ABDOMEN,)),
    PatientPlan("Weber^Karl", "M", Layout.FOLDERS, (_TYPING_ERRORS,), character_set="ISO_IR 100"),
    PatientPlan("Петрова^Мария", "F", Layout.FLAT, (_RUSSIAN_ERRORS,), character_set="ISO_IR 144"),
    PatientPlan("Садыков^Артём", "M", Layout.FOLDERS, (_MIXED,)),
)
