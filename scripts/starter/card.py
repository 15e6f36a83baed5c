"""The model card of a package that ships, in the project's form."""

from dataclasses import replace
from datetime import UTC, datetime

from contour.config import load_config, shipped_folder
from contour.training.card import CardFacts, CardInput, card_text
from scripts.starter.recipe import Recipe

ABOUT_FILE = "about.yaml"


def said_of(recipe: Recipe) -> CardInput:
    """What people wrote of the package in `scripts/<name>/about.yaml`, with the recipe's data and licences."""
    about = load_config(shipped_folder("configs").parent / "scripts" / recipe.name / ABOUT_FILE, CardInput)
    return replace(about, data=recipe.data, licences=recipe.licences)


def text_of(recipe: Recipe, facts: CardFacts, figures: str) -> str:
    """The card in Markdown; `figures` (Markdown) is what was measured on the recipe's validation cases."""
    return card_text(said_of(recipe), replace(facts, figures=figures), datetime.now(UTC).date())
