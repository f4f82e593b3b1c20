"""Inputs of strangers: files that were right, changed here and there.

Hypothesis draws a seed alone, from which the changes follow: to draw each of them takes longer than
most readers. So a failing input is not made smaller, but it is a known file with a few changes.
"""

import copy
import random
from collections.abc import Callable

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
# Numbers at the ends of their ranges, in either order of bytes.
ODD_BYTES = (
    b"\0",
    b"\1",
    b"\x7f",
    b"\xff",
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
)


def seeded(make: Callable[[random.Random], object]):
    """A strategy of what `make` makes of a source of random numbers."""
    return st.integers(0, 2**63).map(lambda seed: make(random.Random(seed)))


def odd_value(draw: random.Random):
    """A value that JSON may hold."""
    match draw.randrange(5):
        case 0:
            return draw.randint(-(2 ** draw.randrange(80)), 2 ** draw.randrange(80))
        case 1:
            return draw.uniform(-1, 1) * 10.0 ** draw.randint(-300, 300)
        case 2:
            return "".join(chr(draw.randrange(0xD800)) for _ in range(draw.randrange(20)))
        case 3:
            return copy.deepcopy(draw.choices(ODD_VALUES, k=draw.randrange(4)))
    # A copy, since what it goes into may be changed further.
    return copy.deepcopy(draw.choice(ODD_VALUES))


def changed_json(bases):
    """One of `bases`, JSON values, with up to four values replaced, removed, added or moved."""
    return seeded(lambda draw: change_json(draw, draw.choice(bases)))


def change_json(draw: random.Random, value):
    """A copy of `value`, changed."""
    value = copy.deepcopy(value)
    for _ in range(draw.randint(1, 4)):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw.choice(keys)
            child = place[key]
            if isinstance(child, dict | list) and child and draw.randrange(4):
                place = child
                continue
            match draw.choice(("replace", "scale", "remove", "add", "copy")):
                case "remove":
                    del place[key]
                case "add" if isinstance(place, dict):
                    place["".join(draw.choices("aé\n\0.", k=draw.randrange(5)))] = odd_value(draw)
                case "copy":
                    place[key] = copy.deepcopy(place[draw.choice(keys)])
                # A float has no room for a larger integer.
                case "scale" if type(child) in (int, float) and abs(child) < 1e300:
                    place[key] = child * draw.choice((0, -1, 0.5, 2, 1.001, 10**20))
                case _:
                    place[key] = odd_value(draw)
            break
    return value


def changed_bytes(bases):
    """One of `bases`, bytes, with up to five places written over, cut, doubled or filled."""
    return seeded(lambda draw: change_bytes(draw, draw.choice(bases)))


def change_bytes(draw: random.Random, content: bytes) -> bytes:
    """`content`, changed."""
    for _ in range(draw.randint(1, 5)):
        # A header is worth more attempts than what follows it.
        span = min(len(content), draw.choice((32, 512, len(content))))
        start = draw.randint(0, max(0, span))
        length = draw.choice((0, 1, 2, 4, 8, 100, 10_000))
        match draw.choice(("write", "flip", "insert", "remove", "double", "cut", "fill")):
            case "write":
                new = draw.choice((draw.randbytes(draw.randint(1, 8)), *ODD_BYTES))
                content = content[:start] + new + content[start + len(new) :]
            case "flip" if start < len(content):
                bit = 1 << draw.randrange(8)
                content = content[:start] + bytes([content[start] ^ bit]) + content[start + 1 :]
            case "insert":
                content = content[:start] + draw.randbytes(draw.randrange(12)) + content[start:]
            case "remove":
                content = content[:start] + content[start + length :]
            case "double":
                content = content[: start + length] + content[start:]
            case "cut":
                content = content[:start]
            case "fill":
                byte = draw.choice((b"\0", b"\xff", b"[", b"9", b'"', b","))
                content = content[:start] + byte * length + content[start + length :]
    return content
