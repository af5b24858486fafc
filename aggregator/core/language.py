"""The languages of what people read."""

from typing import Literal

Language = Literal["fr", "en"]
