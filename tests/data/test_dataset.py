import numpy as np

from jaxeff.data.dataset import ArraySource, fingerprint_arrays


def source(labels, pixel=0):
    return ArraySource(np.full((len(labels), 2, 2, 3), pixel, np.uint8), np.array(labels, np.int32))


def test_fingerprint_tells_pixels_labels_and_split_apart():
    variants = [
        (source([0, 1]), source([1])),
        (source([0, 1], pixel=1), source([1])),
        (source([1, 1]), source([1])),
        (source([0]), source([1, 1])),
        (source([1]), source([0, 1])),
    ]
    assert len({fingerprint_arrays(*variant) for variant in variants}) == len(variants)


def test_fingerprint_does_not_depend_on_the_integer_type_of_labels():
    images = np.zeros((1, 2, 2, 3), np.uint8)
    of_type = [ArraySource(images, np.array([1], dtype)) for dtype in (np.int32, np.int64, ">i2")]
    assert len({fingerprint_arrays(one, one) for one in of_type}) == 1
