"""The register of follow-ups: what staff saw and did, in set words and in no others.

No free text: nobody can describe a person in it.
"""

from typing import Literal, get_args

Seen = Literal["confirmed", "not-confirmed", "not-looked"]
"""What somebody saw with their own eyes."""
Done = Literal[
    "nothing", "waited", "staff-sent", "access-regulated", "service-added", "public-informed",
    "other-service-told", "device-repaired",
]  # fmt: skip
SEEN: tuple[Seen, ...] = get_args(Seen)
DONE: tuple[Done, ...] = get_args(Done)
