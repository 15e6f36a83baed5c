"""The recipes of all packages that ship, by name."""

from contour.core.errors import ConfigError
from scripts.brain_mr.recipe import BRAIN_MR
from scripts.head_ct.recipe import HEAD_CT
from scripts.head_ct_small.recipe import HEAD_CT_SMALL
from scripts.locate_ct.recipe import LOCATE_CT
from scripts.spine_ct.recipe import SPINE_CT
from scripts.starter.recipe import Recipe
from scripts.thorax_ct.recipe import THORAX_CT

RECIPES = (LOCATE_CT, THORAX_CT, BRAIN_MR, HEAD_CT, HEAD_CT_SMALL, SPINE_CT)


def recipe_of(package: str) -> Recipe:
    """The recipe of `package`.

    Raises:
        ConfigError: there is none.
    """
    for recipe in RECIPES:
        if recipe.name == package:
            return recipe
    raise ConfigError("package", f"no recipe makes {package}", ", ".join(recipe.name for recipe in RECIPES))
