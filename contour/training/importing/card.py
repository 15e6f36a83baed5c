"""The card of a package that others trained: where it is from, what was made of it, and what is not known."""

from dataclasses import dataclass, fields
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from contour.inference.package import Manifest
from contour.training.card import NOT_STATED, CardInput
from contour.training.importing.names import MappedName


@dataclass(frozen=True)
class ImportedFacts:
    """What is known without asking: `source` names what was read, `notes` are for a person to heed.

    `random_difference` is that of ONNX Runtime's logits from the original's on random numbers, in parts of the largest;
    None where there was nothing to compare with.
    """

    manifest: Manifest
    names: tuple[MappedName, ...]
    source: tuple[str, ...]
    notes: tuple[str, ...]
    random_difference: float | None


def imported_card(said: CardInput, facts: ImportedFacts) -> str:
    """The card in Markdown."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = files("contour.training").joinpath("templates/imported_card.md.j2").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        said={field.name: getattr(said, field.name) or NOT_STATED for field in fields(said)},
        facts=facts,
        manifest=facts.manifest,
        renamed={one.name: one for one in facts.names if one.name is not None},
        left_out=[one.label for one in facts.names if one.name is None],
    )
    return text.rstrip() + "\n"
