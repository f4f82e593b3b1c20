"""Data sets of strangers, a file or a few in a folder, of which the inputs change one."""

import dataclasses
import functools
import io
import json
import os
import pathlib
import shutil
import tempfile
import zipfile
from unittest import mock

import numpy as np
from PIL import Image

from tests.fuzz.mutations import change_bytes, change_json, seeded
from tests.fuzz.refused import refused


@dataclasses.dataclass(frozen=True)
class Changed:
    """A file of a data set, and what is put in its place."""

    path: str
    content: bytes


def changed_files(files):
    """One of the files that `files()` returns by relative path, changed."""

    def change(draw):
        contents = files()
        path = draw.choice(sorted(contents))
        if path.endswith(".json") and draw.randrange(2):
            value = change_json(draw, json.loads(contents[path]))
            return Changed(path, json.dumps(value).encode())
        return Changed(path, change_bytes(draw, contents[path]))

    return seeded(change)


def plant(files, changed, root):
    """Writes `files` below `root`, which need not be there, with the one that is changed."""
    for path, content in {**files, changed.path: changed.content}.items():
        place = root / path
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)  # An earlier input may be mapped into the memory.
            place.write_bytes(content)


def use(dataset):
    """Asks a data set for all that training asks it for, but no decoding."""
    assert dataset.num_classes >= 1
    for source in (dataset.train, dataset.validation):
        for index in range(min(len(source), 50)):
            example = source[index]
            assert isinstance(example["image"], bytes | str | np.ndarray)
            assert 0 <= example["label"] < 2**31


def _jpeg(index):
    file = io.BytesIO()
    Image.new("RGB", (8 + index, 8), (30 * index,) * 3).save(file, "JPEG")
    return file.getvalue()


COUNTS = {"train": 4, "test": 3}


def _table(count):
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["dark", "bright"], "_type": "ClassLabel"},
    }
    images = [{"bytes": _jpeg(i), "path": f"{i}.jpg"} for i in range(count)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": [i % 2 for i in range(count)]})
    said = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": said})


@functools.cache
def saved_files():
    """What `datasets.save_to_disk` writes of a `DatasetDict`."""
    import pyarrow as pa

    files = {"dataset_dict.json": json.dumps({"splits": list(COUNTS)}).encode()}
    for split, count in COUNTS.items():
        name, output = "data-00000-of-00001.arrow", io.BytesIO()
        table = _table(count)
        with pa.ipc.new_stream(output, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        state = {"_data_files": [{"filename": name}], "_split": split}
        files[f"{split}/state.json"] = json.dumps(state).encode()
        files[f"{split}/{name}"] = output.getvalue()
    return files


@functools.cache
def parquet_files():
    """Parquet files as the Hub stores them."""
    import pyarrow as pa
    import pyarrow.parquet

    files = {}
    for split, count in COUNTS.items():
        output = pa.BufferOutputStream()
        pa.parquet.write_table(_table(count), output, row_group_size=2)
        files[f"data/{split}-00000-of-00001.parquet"] = output.getvalue().to_pybytes()
    return files


@functools.cache
def prepared_files():
    """What TensorFlow Datasets prepares as ArrayRecord, of a set that it has no code of."""
    import tensorflow_datasets as tfds

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=("dark", "bright")),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, download_manager):
        return {split: self._generate_examples(count) for split, count in COUNTS.items()}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": io.BytesIO(_jpeg(i)), "label": i % 2}

    methods = (_info, _split_generators, _generate_examples)
    body = {method.__name__: method for method in methods}
    body |= {"VERSION": tfds.core.Version("1.0.0"), "__module__": __name__}
    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration(), tempfile.TemporaryDirectory() as folder:
        builder = type("Shades", (tfds.core.GeneratorBasedBuilder,), body)
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
        paths = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


_NPY = {
    "train_images": _npy(np.zeros((4, 6, 6, 3), np.uint8)),
    "train_labels": _npy(np.array([0, 1, 0, 1])),
    "test_images": _npy(np.zeros((3, 6, 6), np.uint8)),
    "test_labels": _npy(np.array([[0], [1], [1]])),
    "class_names": _npy(np.array(["dark", "bright"])),
}


def _zipped(arrays):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def _archive(draw):
    """An `.npz` file, changed; or one of changed arrays, whose check sums are right."""
    if draw.randrange(2):
        return change_bytes(draw, _NPZ)
    name = draw.choice(sorted(_NPY))
    return _zipped({**_NPY, name: change_bytes(draw, _NPY[name])})


_NPZ = _zipped(_NPY)


def _loaded(name, path):
    """A data set is loaded and asked for its images."""
    from jaxeff import data

    use(data.load(name, data_dir=path))


def read_saved(changed, folder):
    """What `save_to_disk` wrote is a data set, or it is refused."""
    plant(saved_files(), changed, folder / "saved")
    refused(_loaded, "hf", folder / "saved")


def read_parquet(changed, folder):
    """Parquet files are copied and are a data set, or they are refused."""
    plant(parquet_files(), changed, folder / "hub")
    with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder / "cache")):
        refused(_loaded, "hf", folder / "hub")
    shutil.rmtree(folder / "cache", ignore_errors=True)


def read_prepared(changed, folder):
    """What TensorFlow Datasets prepared is a data set, or it is refused."""
    plant(prepared_files(), changed, folder / "prepared")
    refused(_loaded, "shades", folder / "prepared")


def read_archive(content, folder):
    """An `.npz` file is a data set, or it is refused."""
    path = folder / "mine.npz"
    path.write_bytes(content)
    refused(_loaded, "arrays", path)


DATA_SETS = {
    "saved sets": (changed_files(saved_files), read_saved),
    "Parquet": (changed_files(parquet_files), read_parquet),
    "TensorFlow Datasets": (changed_files(prepared_files), read_prepared),
    "arrays": (seeded(_archive), read_archive),
}
