"""The one exception that means: the user can mend this."""

from jaxeff.cells import visible


class UsageError(Exception):
    """Bad input: a flag, a path, a file or a record that the user can correct.

    The message is one line that says what was given, what was expected and what to do. Commands in
    `launch/` print it on stderr and exit with status 2, without a traceback. What was given may
    hold anything: line breaks in it become spaces, and what a terminal would obey is written out.
    """

    def __init__(self, message: object = ""):
        super().__init__(visible(" ".join(str(message).split())))
