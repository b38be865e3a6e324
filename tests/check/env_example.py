"""What `.env.example` must say. Run as a script, it writes the file anew."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from broker.settings import Settings

FILE = Path(__file__).parents[2] / ".env.example"
PREFIX = "BROKER_"
HEAD = """\
# Every setting of the broker with its default. Remove the # in front of what you change.
"""


def render() -> str:
    """The text of the file: for each setting its description, its name and its default."""
    return HEAD + "".join(_entry(name, field) for name, field in Settings.model_fields.items())


def default_of(name: str) -> str:
    """A setting's default as it is written in the environment."""
    value = Settings.model_fields[name].get_default()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _entry(name: str, field: FieldInfo) -> str:
    return f"\n# {field.description}\n#{PREFIX}{name.upper()}={default_of(name)}\n"


if __name__ == "__main__":
    FILE.write_text(render())
