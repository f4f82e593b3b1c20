"""The one exception that means: the user can mend this."""

from jaxeff.cells import visible

# A name of thousands of characters would hide what is to be done about it.
MOST_CHARACTERS = 1800


class UsageError(Exception):
    """Bad input: a flag, a path, a file or a record that the user can correct.

    The message is one line that says what was given, what was expected and what to do. Commands in
    `launch/` print it on stderr and exit with status 2, without a traceback. What was given may
    hold anything: line breaks in it become spaces, what a terminal would obey is written out, and
    of a message of more than `MOST_CHARACTERS` the middle is left out.
    """

    def __init__(self, message: object = ""):
        text = visible(" ".join(str(message).split()))
        if len(text) > MOST_CHARACTERS:
            text = f"{text[: MOST_CHARACTERS // 2]} … {text[-MOST_CHARACTERS // 2 :]}"
        super().__init__(text)
