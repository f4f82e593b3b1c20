import pytest

from jaxeff import cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 98 % top-1 — ok", "plain, 98 % top-1 — ok"),
        ("a\x1b[2Jb\x07", r"a\x1b[2Jb\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("exe\u202egpj", r"exe\u202egpj"),
        ("half \ud800", r"half \ud800"),
        ("not assigned \U00014647", r"not assigned \U00014647"),  # Found by fuzzing a run's name.
        ("line\u2028line", r"line\u2028line"),
        ("98\u00a0%", "98\u00a0%"),
    ],
)
def test_what_is_not_seen_is_written_out(text, shown):
    assert cells.visible(text) == shown


@pytest.mark.parametrize(
    ("cell", "inert"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1+1", "' =1+1"),
        ("\t=1+1", r"\t=1+1"),
        ("＝1+1", "'＝1+1"),
        ("a;=1+1", "a;'=1+1"),
        ("a=1-2", "a=1-2"),
        (-2.5, -2.5),
        (None, None),
    ],
)
def test_a_spreadsheet_runs_no_cell(cell, inert):
    assert cells.inert(cell) == inert
