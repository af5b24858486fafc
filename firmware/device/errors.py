"""What goes wrong in a technician's hands."""


class ToolError(RuntimeError):
    """A card or a release cannot be used: a word of words.toml, and what was found."""

    def __init__(self, word: str, **found: object) -> None:
        super().__init__(word)
        self.word = word
        self.found = found
