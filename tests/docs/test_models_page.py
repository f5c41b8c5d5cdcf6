"""The page of models lists each recipe as it is."""

import re
from pathlib import Path

import pytest
from rerank_core.checkpoints.recipes import RECIPES
from rerank_core.engines.packed.architectures import DECODERS

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}


def test_each_recipe_has_a_row() -> None:
    assert ROWS.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_a_row_says_what_becomes_of_an_instruction(name: str) -> None:
    prompt = RECIPES[name].prompt("")

    assert ("takes none" in ROWS[name]) == (not prompt.takes_instruction)
    assert ("none by default" in ROWS[name]) == (prompt.takes_instruction and prompt.instruction is None)
    assert prompt.instruction is None or f'"{prompt.instruction}"' in ROWS[name]


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.families])
def test_a_row_names_the_engine_where_the_fast_one_does_not_run_the_network(name: str) -> None:
    fast = {re.sub(r"\W", "", decoder.name).lower() for decoder in DECODERS.values()}
    networks = {family.partition("For")[0].lower() for family in RECIPES[name].families}

    assert ("`reference` only" in ROWS[name]) == networks.isdisjoint(fast)
