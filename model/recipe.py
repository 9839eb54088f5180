# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Recipes that come with the package: configs by name."""

from pathlib import Path

from m3vit.model.config import Config, load_config
from m3vit.model.errors import UserError

FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names that `load_recipe` takes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(config: Path | None) -> Config:
    """Read a TOML config, or the recipe of that name if there is no such file; None gives the demo.

    Raises:
        UserError: there is neither file nor recipe, or it does not validate.
    """
    if config is None or config.suffix or config.is_file():
        return load_config(config)
    if str(config) not in recipe_names():
        raise UserError(f"'{config}' is neither a file nor a recipe; recipes are {', '.join(recipe_names())}")
    return load_config(FOLDER / f"{config}.toml")
