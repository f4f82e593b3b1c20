import pickle

from jaxeff.errors import UsageError


def test_the_message_is_one_line_whatever_was_given():
    error = UsageError("--model=a\nb\x1b[2J:  give\tone \udcff")
    assert str(error) == r"--model=a b\x1b[2J: give one \udcff"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_name_of_thousands_of_characters_does_not_hide_what_to_do():
    """Found by fuzzing."""
    said = str(UsageError(f"{'x' * 10_000}: give another"))
    assert len(said) < 2000
    assert said.startswith("xxx")
    assert said.endswith(": give another")
