import pickle

from jaxeff.errors import UsageError


def test_the_message_is_one_line_whatever_was_given():
    error = UsageError("--model=a\nb\x1b[2J:  give\tone \udcff")
    assert str(error) == r"--model=a b\x1b[2J: give one \udcff"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
