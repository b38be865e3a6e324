"""A type whose parameters refer to a stored document and whose handler also speaks about all records together; types
that look into a collection of items.

Lies here as pip leaves a package; on `sys.path` the broker finds its type.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
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


class Ingredient(BaseModel):
    """The fields of an item."""

    grams: int


class Look(Params):
    """pantry: id of the collection."""

    pantry: str = "default"


def pantry_of(params: Look) -> list[Ref]:
    return [Ref("pantry", params.pantry)]


def stock(path: Path) -> dict[str, int]:
    """What a snapshot holds."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        rows = connection.execute("SELECT id, fields FROM items").fetchall()
    return {id: Ingredient.model_validate_json(fields).grams for id, fields in rows}


class Pantry:
    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    def run(self, record: Record, params: Look, box: Box) -> Facts:
        """What the collection holds, or None for another `pantry` than that of the parameters.

        With a `gate`, it asks for it once that file is there; `{gate}.reached` says that it waits.
        """
        gate = record.fields.get("gate")
        if isinstance(gate, str):
            Path(f"{gate}.reached").touch()
            while not Path(gate).exists() and not box.cancelled:
                box.progress(0.5)
                time.sleep(0.01)
        try:
            return {"stock": stock(box.snapshot("pantry", str(record.fields.get("pantry", params.pantry))))}
        except KeyError:
            return {"stock": None}


class Waiter:
    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: Params, box: Box) -> Facts:
        """Asks a handler of the pantry that the record names as `asked`."""
        return await box.run("pantry", "look", record.image, {"pantry": record.fields["asked"]})


PANTRY = Spec(
    type="pantry",
    endpoints={"look": Look},
    default_endpoint="look",
    handler="recipe_types:Pantry",
    summary="Says what there is.",
    items={"pantry": Ingredient},
    references=pantry_of,
)
ISOLATED = replace(PANTRY, type="pantry-isolated", isolate=True)
WAITER = Spec(
    type="waiter",
    endpoints={"ask": Params},
    default_endpoint="ask",
    handler="recipe_types:Waiter",
    summary="Asks what there is.",
)
