# ruff: noqa: RUF001, RUF003 - names in three languages
from collections import defaultdict
from pathlib import Path

import pytest

from contour.cases.alias_files import AliasFile, alias_files
from contour.cases.aliases import Aliases, How, load_aliases
from contour.cases.spelling import key
from contour.config import load_config
from contour.core.errors import ConfigError
from contour.core.nomenclature import known_names, lookup
from contour.dicom.rtstruct_parse import read_contours


@pytest.fixture(scope="module")
def aliases() -> Aliases:
    return load_aliases()


EXACT = {
    "Lung_L": "Lung L|Lt Lung|LLung|lungl|LUNG-LEFT|left lung|Лег Л|лев. лёгкое|Легкое левое|сол өкпе|ОКПЕ СОЛ"
    "|legkoe levoe|Lung(L)|L_Lung|легкое(л)|сол жақ өкпе|Lung L total|pulmo sin|OAR_Lung_L",
    "Lung_R": "Lung R|lungr|RT LUNG|Лёгкое пр.|оң өкпе|правое легкое|Оң жақ өкпе|pravoe legkoe",
    "Lungs": "Lungs|Both lungs|Lung both|Lung L+R|оба легких|Лёгкие|екі өкпе|lungs total",
    "Heart": "HEART|heart|Cor|Сердце|Cердце|serdce|жүрек|журек|Zhurek",
    "SpinalCord": "Spinal cord|cord|SpinalCord|SPINAL_CORD|спин. мозг|Спинной мозг|жұлын|Жулын|spinnoj mozg"
    "|Мозг спинной|zhulyn|Myelon",
    "SpinalCanal": "Spinal_Canal|позвоночный канал|жұлын өзегі",
    "Esophagus": "Oesophagus|esophagus|eso|Пищевод|өңеш|онеш|pishevod",
    "Trachea": "trachea|Трахея|кеңірдек",
    "Liver": "LIVER|печень|Бауыр|hepar",
    "Kidney_R": "R kidney|почка правая|почка п|Бүйрек оң|бүйрек оң жақ|kidney_right|Ren dex",
    "Rectum": "rectum|пр. кишка|прямая кишка|тік ішек",
    "Bladder": "Urinary bladder|пузырь мочевой|мочевой пузырь|қуық",
    "Duodenum": "duodenum|ДПК|12-перстная кишка|он екі елі ішек|ұлтабар",
    "Bowel_Small": "bowel small|кишечник тонкий|аш ішек",
    "Bone_Mandible": "Mandible|нижняя челюсть|төменгі жақ|ниж. чел.",
    "Parotid_L": "Parotid-Lt|Gland, parotid, left|железа околоушная слюнная лев"
    "|ОУСЖ л|околоушная слюнная железа левая|сол құлақмаңы безі|Glandula parotis sin",
    "Glnd_Submand_R": "Submandibular-Rt|smg r|подчелюстная железа пр|Glnd_Submand_R",
    "OpticNrv_L": "Optic_Nerve_L|OpticNerve L|зрит. нерв лев.|сол көру жүйкесі|ON nerve L",
    "OpticChiasm": "Chiasma|хиазма|OPTIC CHIASM",
    "Femur_Head_R": "Femoral head R|ГБК п|головка бедра правая|FemurHead_R|FemoralHead Rt",
    "Brainstem": "BrainStem|brain stem|ствол мозга|ми бағаны|stvol mozga",
    "A_LAD": "LAD|ПМЖВ|left anterior descending",
    "Lung_RUL": "lung_upper_lobe_right|Верхняя доля правого лёгкого|RUL|right upper lobe",
    "Atrium_L": "heart_atrium_left|левое предсердие|сол жүрекше",
    "Rib05_L": "rib_left_5|ребро 5 лев|V ребро слева|Rib05_L|5 rib L",
    "VB_T11": "VB_T11|тело Th XI|vertebral body T11|омыртқа денесі Т11",
    "SpinalCord_PRV05": "SpinalCord_PRV05|cord PRV 5mm|Spinal cord +5 mm|спинной мозг +0,5 см|PRV05 cord",
    "SpinalCord_PRV": "Cord PRV|PRV_SpinalCord",
    "Body": "BODY|Patient|Тело|Контур тела|дене",
    "External": "External|внешний контур|сыртқы контур",
    "CouchSurface": "CouchSurface|Couch Surface",
    "GTV1": "GTV-1|GTV 1|gtv1|GTV_01",
    "PTV": "PTV|РТV",  # Cyrillic Р and Т
    "GTVp": "GTVp|GTV_p",
}


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in EXACT.items() for t in texts.split("|")])
def test_exact_names(aliases: Aliases, name: str, text: str) -> None:
    reading = aliases.read(text)
    assert (reading.how, reading.name) == (How.EXACT, name), reading


@pytest.mark.parametrize("name", known_names())
def test_every_name_of_the_table_is_itself(aliases: Aliases, name: str) -> None:
    assert (aliases.read(name).how, aliases.read(name).name) == (How.EXACT, name)
    assert (aliases.read(f"~{name}").how, aliases.read(f"~{name}").name) == (How.EXACT, name)  # a part of it


@pytest.mark.parametrize("path", alias_files(), ids=lambda path: path.stem)
def test_every_language_has_a_word_for_every_organ(path: Path) -> None:
    file = load_config(path, AliasFile)
    stems = {name[:-2] if name[-2:] in ("_L", "_R") else name for name in known_names()}
    single = {stem for stem in stems if not (stem.startswith("VB_") or (stem.startswith("Rib") and stem != "Rib"))}
    assert single <= set(file.structures)
    assert all(file.structures[stem] for stem in single)
    assert all((file.left, file.right, file.both, file.vertebral_bodies, file.ribs, file.targets, file.ignored))


def test_no_alias_means_two_things_in_two_languages() -> None:
    meanings: dict[str, set[str]] = defaultdict(set)
    for path in alias_files():
        file = load_config(path, AliasFile)
        for table in (file.structures, file.unsure):
            for stem, texts in table.items():
                for text in texts:
                    meanings[key(text)].add(stem)
        for text in (*file.other, *file.targets, *file.ignored):
            meanings[key(text)].add("no organ")
    assert {alias: found for alias, found in meanings.items() if len(found) > 1} == {}


NOT_TAKEN = (
    *("PTV60", "PTV 50.4 boost", "Ring PTV", "Lungs-GTV", "лёгкие-PTV", "Печень минус GTV", "опухоль", "ITV"),
    *(
        "z_ring",
        "_helper",
        "Isocenter 6",
        "стол",
        "Dose 2000[cGy]",
        "Heart_Avoid",
        "контраст",
        "1,SUV_primair",
        "zHeart",
    ),
    *("ROI-1", "kv3", "Areola", "Borders", "Nodes", "Scar", "Thalamus L", "Bladder wall", "upper lobe", "ПЖ", "I1"),
    *("Breast", "Parotid", "Femoral Head", "почка", "өкпе"),  # no side stated
    *("Mandible_L", "Heart Left", "Cerebellum_L"),  # a side that TG-263 does not part it by
    *(
        "Cord PRV 500 mm",
        "Body+5mm",
        "Musc_Constrict_S",
        "Scapular",
        "Orbital",
        "Retinal",
        "OpticChiasm_PRV05_new",
        "T5-T8",
        "VB_T13",
        "Rib13_L",
    ),
)


@pytest.mark.parametrize("text", NOT_TAKEN)
def test_what_is_no_organ_is_not_taken_for_one(aliases: Aliases, text: str) -> None:
    reading = aliases.read(text)
    assert reading.how not in (How.EXACT, How.FUZZY)
    assert reading.name is None, reading


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("PTV60", How.TARGET),
        ("Tumor Bed", How.TARGET),
        ("опухоль", How.TARGET),
        ("ісік", How.TARGET),
        ("Lungs-GTV", How.DERIVED),
        ("легкое л - PTV", How.DERIVED),
        ("Isocenter 6", How.IGNORED),
        ("стол", How.IGNORED),
        ("z_ring", How.IGNORED),
        ("", How.UNMAPPED),
    ],
)
def test_why_it_is_not(aliases: Aliases, text: str, how: How) -> None:
    assert aliases.read(text).how is how


def test_types_tell_where_names_do_not(aliases: Aliases) -> None:
    assert aliases.read("I1", ("MARKER",)).how is How.IGNORED
    assert aliases.read("I1", ("MARKER", "ORGAN")).how is How.UNMAPPED
    assert aliases.read("Heart", ("MARKER",)).name == "Heart"
    assert (aliases.read("xyz", ("EXTERNAL",)).how, aliases.read("xyz", ("EXTERNAL",)).name) == (How.UNSURE, "External")
    assert aliases.read("Skin", ("ORGAN",)).how is How.EXACT
    assert (aliases.read("Skin", ("EXTERNAL",)).how, aliases.read("Skin", ("EXTERNAL",)).name) == (How.UNSURE, "Body")


@pytest.mark.parametrize(
    ("text", "how", "name"),
    [
        ("Esophogas", How.FUZZY, "Esophagus"),
        ("Пищивод", How.FUZZY, "Esophagus"),
        ("Spinal Crod", How.FUZZY, "SpinalCord"),
        ("Haert", How.FUZZY, "Heart"),
        ("Lung Lefft", How.FUZZY, "Lung_L"),
        ("Lung Rigth", How.FUZZY, "Lung_R"),
        ("Kideny R", How.FUZZY, "Kidney_R"),
        ("Heart1", How.UNSURE, "Heart"),
        ("Сердце нов", How.UNSURE, "Heart"),
        ("Th5", How.UNSURE, "VB_T05"),
        ("vertebrae_T5", How.UNSURE, "VB_T05"),
        ("LV", How.UNSURE, "Ventricle_L"),
        ("Hip L", How.UNSURE, "Bone_Pelvic_L"),
    ],
)
def test_proposals(aliases: Aliases, text: str, how: How, name: str) -> None:
    assert (aliases.read(text).how, aliases.read(text).name) == (how, name)


@pytest.mark.parametrize(
    "text", ["точка", "печка", "ureter", "ileum", "Glottic", "Optics", "Thalamus", "Ventricles", "Livr"]
)
def test_near_to_two_things_or_to_something_else_is_no_proposal(aliases: Aliases, text: str) -> None:
    assert aliases.read(text).name is None


def test_a_letter_wrong_never_changes_the_side(aliases: Aliases) -> None:
    """Each alias of an organ with sides, one letter lost, beside a side: what is proposed has that side."""
    stems = [name[:-2] for name in known_names() if name.endswith("_L")]
    files = [load_config(path, AliasFile) for path in alias_files()]
    texts = [text for file in files for stem in stems for text in file.structures.get(stem, ())]
    for text in texts[::6]:
        for i in range(1, len(text), 3):
            for word, side, other in (("Left", "_L", "_R"), ("прав.", "_R", "_L"), ("сол", "_L", "_R")):
                name = aliases.read(f"{word} {text[:i]}{text[i + 1 :]}").name
                assert name is None or not name.endswith(other) or side in name, (text, i, name)


def test_a_name_without_its_side_says_between_which(aliases: Aliases) -> None:
    reading = aliases.read("почка")
    assert (reading.how, reading.sides) == (How.UNMAPPED, ("Kidney_L", "Kidney_R"))


def test_aliases_of_a_site_count_first(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("language: ours\nstructures:\n  Stomach: [kv3, cor, heart]\n", encoding="utf-8")
    own = load_aliases((path,))
    assert own.read("KV3").name == own.read("cor").name == "Stomach"
    assert own.read("heart").name == "Heart"  # a TG-263 name means itself
    assert own.read("сердце").name == "Heart"


@pytest.mark.parametrize(
    ("text", "where"),
    [("structures:\n  Herz: [herz]\n", "Herz"), ("structures:\n  Heart: [kv3]\n  Liver: [KV-3]\n", "KV-3")],
)
def test_a_mistake_in_an_alias_file_is_named(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("language: ours\n" + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=where):
        load_aliases((path,))


def test_every_name_that_is_read_is_known(aliases: Aliases) -> None:
    for path in alias_files():
        file = load_config(path, AliasFile)
        for texts in (*file.structures.values(), *file.unsure.values()):
            for text in texts[::4]:
                for said in (f"{text} L", f"right {text}", f"{text} PRV 3"):
                    name = aliases.read(said).name
                    assert name is None or lookup(name) is not None


@pytest.mark.data
def test_every_roi_of_a_clinical_breast_case(shared_data: Path, aliases: Aliases) -> None:
    contents = read_contours(shared_data / "dicom" / "rt_holes" / "example_data" / "rtss.dcm")
    read = {}
    for roi in contents.rois:
        observation = contents.observation_of(roi.number)
        assert observation is not None
        read[roi.name] = aliases.read(roi.name, (observation.interpreted_type,))
    assert {roi: r.name for roi, r in read.items() if r.how is How.EXACT} == {
        "BODY": "Body",
        "Heart": "Heart",
        "Lt Lung": "Lung_L",
    }
    assert read["Breast"].sides == ("Breast_L", "Breast_R")
    assert {roi for roi, r in read.items() if r.how in (How.TARGET, How.IGNORED)} == {"Tumor Bed", "Tumor Bed Block"}
    assert all(r.name is None for r in read.values() if r.how is not How.EXACT)
