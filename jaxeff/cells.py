"""Text that strangers chose, where people look at it: in a terminal or a spreadsheet."""

import re
import unicodedata

# Unicode's categories of what is no letter, number, sign or space: control and formatting
# characters (an escape sequence moves a terminal's cursor, an override turns the direction of
# writing), halves of characters, unassigned ones, and line breaks.
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# What a spreadsheet takes for the beginning of a formula, also in full width. Where it separates
# cells by semicolons, so does one in the text.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@＝＋－＠])")


def visible(text: str) -> str:
    """The text with characters that are not seen written out, such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _INVISIBLE
        else character
        for character in text
    )


def inert(cell: object) -> object:
    """A cell of a CSV file: text as `visible`, quoted where a spreadsheet would run it."""
    return _FORMULA.sub(r"\1'", visible(cell)) if isinstance(cell, str) else cell
