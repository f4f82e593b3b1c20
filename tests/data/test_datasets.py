import pickle
import subprocess
import sys

import numpy as np
import pytest

from jaxeff.data import load, names
from jaxeff.errors import UsageError


def test_the_bundled_data_sets_load_and_describe_themselves():
    assert names() == ("digits", "synthetic", "image_folder", "hf", "arrays", "imagenet2012")
    for name in ("digits", "synthetic"):
        dataset = load(name)
        assert dataset.name == name
        assert dataset.num_classes == len(dataset.class_names) == 10
        assert dataset.in_memory
        assert len(dataset.fingerprint) == 64
        assert dataset.target.startswith("top1:")
        for split in (dataset.train, dataset.validation):
            example = split[len(split) - 1]
            assert example["image"].dtype == np.uint8
            assert type(example["label"]) is int
            copied = pickle.loads(pickle.dumps(split))
            assert len(copied) == len(split)
            np.testing.assert_array_equal(copied[0]["image"], split[0]["image"])


def test_image_size_replaces_the_default():
    assert load("digits").image_size == 64
    assert load("digits", image_size=32).image_size == 32
    with pytest.raises(UsageError, match="image_size=0"):
        load("digits", image_size=0)


def test_image_size_leaves_the_fingerprint():
    assert load("synthetic", image_size=32).fingerprint == load("synthetic").fingerprint


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("digit", {}, "did you mean digits"),
        ("imagefolder", {}, "did you mean image_folder"),
        ("zzz", {}, "known are digits, synthetic, image_folder"),
        ("image_folder", {}, "give --data_dir"),
        ("image_folder", {"data_dir": "no/such/place"}, "no/such/place does not exist"),
        ("image_folder", {"data_dir": __file__}, "is not a folder"),
        ("digits", {"data_dir": "."}, "leave --data_dir out"),
        ("arrays", {}, "give --data_dir=FILE, an .npz file"),
        ("arrays", {"data_dir": "."}, "is not a file"),
        ("hf", {}, "datasets.save_to_disk"),
        ("hf", {"data_dir": __file__}, "is not a folder"),
        ("digits", {"train_split": "train[:50%]"}, "leave --train_split out"),
        ("image_folder", {"validation_split": "test"}, "leave --validation_split out"),
        ("digits", {"split_seed": 1}, "leave --split_seed out"),
    ],
)
def test_what_cannot_be_loaded_ends_in_one_line_that_says_what_to_do(name, options, says):
    with pytest.raises(UsageError) as raised:
        load(name, **options)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_digits_load_quietly_and_without_scikit_learn_which_takes_a_second():
    code = (
        "import sys; from jaxeff import data; data.load('digits'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert done.stderr == ""
