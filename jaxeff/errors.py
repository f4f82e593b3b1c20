"""The one exception that means: the user can mend this."""


class UsageError(Exception):
    """Bad input: a flag, a path, a file or a record that the user can correct.

    The message is one line that says what was given, what was expected and what to do. Commands in
    `launch/` print it on stderr and exit with status 2, without a traceback.
    """
