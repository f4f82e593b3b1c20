"""Inputs of strangers: files that were right, changed here and there, as Hypothesis draws them."""

import copy

from hypothesis import strategies as st

# Values that have broken a reader somewhere.
ODD_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    0.5,
    -0.0,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    2**31,
    2**53 + 1,
    2**64,
    10**39,
    10**400,
    "",
    "x" * 3000,
    "\x1b[2J\n",
    "\ud800",
    "\u202e",
    "=1+1",
    "9999-12-31T00:00:00Z",
    "2026-01-02",
    [],
    {},
    [[[[]]]],
    {"a": {"a": None}},
)


def odd_values():
    """A value that JSON may hold."""
    return st.one_of(
        st.sampled_from(ODD_VALUES),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.lists(st.sampled_from(ODD_VALUES), max_size=3),
    )


@st.composite
def changed_json(draw, bases):
    """One of `bases`, JSON values, with up to four values replaced, removed, added or moved."""
    value = copy.deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 4))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            child = place[key]
            if isinstance(child, dict | list) and child and draw(st.integers(0, 3)):
                place = child
                continue
            match draw(st.sampled_from(("replace", "scale", "remove", "add", "copy"))):
                case "remove":
                    del place[key]
                case "add" if isinstance(place, dict):
                    place[draw(st.text(max_size=5))] = draw(odd_values())
                case "copy":
                    place[key] = copy.deepcopy(place[draw(st.sampled_from(keys))])
                case "scale" if isinstance(child, int | float) and not isinstance(child, bool):
                    place[key] = child * draw(st.sampled_from((0, -1, 0.5, 2, 1.001, 10**20)))
                case _:
                    place[key] = draw(odd_values())
            break
    return value


@st.composite
def changed_bytes(draw, bases):
    """One of `bases`, bytes, with up to five places written over, cut, doubled or filled."""
    content = draw(st.sampled_from(bases))
    for _ in range(draw(st.integers(1, 5))):
        # A header is worth more attempts than what follows it.
        span = min(len(content), draw(st.sampled_from((32, 512, len(content)))))
        start = draw(st.integers(0, max(0, span)))
        length = draw(st.sampled_from((0, 1, 2, 4, 8, 100, 10_000)))
        match draw(st.sampled_from(("write", "flip", "insert", "remove", "double", "cut", "fill"))):
            case "write":
                new = draw(st.binary(min_size=1, max_size=8))
                content = content[:start] + new + content[start + len(new) :]
            case "flip" if start < len(content):
                bit = 1 << draw(st.integers(0, 7))
                content = content[:start] + bytes([content[start] ^ bit]) + content[start + 1 :]
            case "insert":
                content = content[:start] + draw(st.binary(max_size=12)) + content[start:]
            case "remove":
                content = content[:start] + content[start + length :]
            case "double":
                content = content[: start + length] + content[start:]
            case "cut":
                content = content[:start]
            case "fill":
                byte = draw(st.sampled_from((b"\0", b"\xff", b"[", b"9", b'"', b",")))
                content = content[:start] + byte * length + content[start + length :]
    return content
