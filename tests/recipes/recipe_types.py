"""A type whose parameters refer to a stored document and whose handler also speaks about all records together.

Lies here as pip leaves a package; on `sys.path` the broker finds its type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from handlers.contract import Params, Ref, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.contract import Box, Config, Facts, Record


class Recipe(BaseModel):
    """The document."""

    word: str


class Cook(Params):
    """recipe: id of the recipe. version: a certain one; default: the newest."""

    recipe: str
    version: int | None = None
    fail: bool = False


def recipe_of(params: Cook) -> list[Ref]:
    return [Ref("recipe", params.recipe, params.version, param="recipe")]


class Kitchen:
    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    def run(self, record: Record, params: Cook, box: Box) -> Facts:
        recipe = box.document(recipe_of(params)[0])
        assert isinstance(recipe, Recipe)
        return {"word": f"{recipe.word} {record.index}", "fail": params.fail}

    def combine(self, facts: Sequence[Facts]) -> Facts:
        if facts[0]["fail"]:
            raise ValueError("burnt")
        return {"words": [found["word"] for found in facts]}


SPEC = Spec(
    type="kitchen",
    endpoints={"cook": Cook},
    default_endpoint="cook",
    handler="recipe_types:Kitchen",
    summary="Cooks by a recipe.",
    documents={"recipe": Recipe},
    references=recipe_of,
)
