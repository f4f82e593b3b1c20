import pytest

from jaxeff.report.published import Printed, recompute


def test_digits_say_how_precise_a_number_is():
    assert Printed("0.77").bounds == pytest.approx((0.765, 0.775))
    assert Printed("16").bounds == pytest.approx((15.5, 16.5))
    assert Printed("4.0e19").bounds == pytest.approx((3.95e19, 4.05e19))


def test_a_formula_is_bounded_by_the_rounding_of_its_inputs():
    value, low, high = recompute(lambda a, b: a / b, Printed("8"), Printed("2"))
    assert (value, low, high) == pytest.approx((4, 7.5 / 2.5, 8.5 / 1.5))


def test_what_the_bounds_allow():
    assert Printed("44").allows(43.6, 43.9)
    assert Printed("44").allows(44.2, 47)
    assert not Printed("44").allows(44.6, 47)


@pytest.mark.parametrize("text", ["", "-1", "1,000", "nan", "1e"])
def test_what_is_no_printed_number(text):
    with pytest.raises(ValueError, match="not a printed number"):
        Printed(text)
