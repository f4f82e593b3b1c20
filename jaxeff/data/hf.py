"""Image sets of Hugging Face, from disk: what `datasets.save_to_disk` wrote, or Parquet files.

A `DatasetDict` of `save_to_disk` is a folder with a folder of Arrow files for each split, which are
read where they are. Parquet files, as the Hub stores them (`data/train-00000-of-00002.parquet`),
allow no access to a single image: the first start copies images and labels to an Arrow file in the
user's cache folder, as `datasets` itself does.

Images are a column `{"bytes", "path"}` of encoded files, called `image` or `img` or marked as the
only one of images; labels are a column of integers called `label` or marked as the only one of
classes. Nothing is ever downloaded, and nothing is decoded before it is used.
"""

import contextlib
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxeff import extras
from jaxeff.data.augment import open_image
from jaxeff.data.dataset import Dataset, shown
from jaxeff.errors import UsageError

VALIDATION_SPLITS = ("validation", "valid", "val", "dev", "test")  # the first one there is taken

_SPLIT = re.compile(r"(train|validation|valid|val|dev|test)(?![a-z])")
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
_ROWS_AT_A_TIME = 256
_LOOKED_AT = 16  # images whose size decides how the set is shown


@dataclass(frozen=True, eq=False)
class ArrowSource:
    """Encoded images in memory-mapped Arrow files: opened in each process, shared by them all.

    Attributes:
      files: Arrow streams, in order.
      column: of the images.
      labels: int32 `[N]`.
    """

    files: tuple[str, ...]
    column: str
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts, chunks = self._opened
        chunk = int(np.searchsorted(starts, index, side="right")) - 1
        content = chunks[chunk][int(index - starts[chunk])].as_py()
        return {"image": content, "label": int(self.labels[index])}

    @functools.cached_property
    def _opened(self):
        """The index of the first image of each chunk, and the chunks."""
        chunks = [
            _contents(chunk)
            for file in self.files
            for chunk in _table(file).column(self.column).chunks
            if len(chunk)
        ]
        return np.cumsum([0, *map(len, chunks)]), chunks

    def __reduce__(self):
        # A worker process maps the files itself.
        return ArrowSource, (self.files, self.column, self.labels)


class _Columns(NamedTuple):
    """Which columns hold images and labels, and the names of the classes where they are given."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def load(data_dir: Path) -> Dataset:
    """The data set `hf`: the images below `data_dir`, named for that folder.

    The fingerprint covers the classes and, for each split, every image's label and size in bytes.
    It is the same for Arrow and Parquet, however they are divided into files.

    Raises:
      UsageError: pyarrow is missing, or the folder does not hold what is described above.
    """
    extras.require("hf", "--dataset=hf")
    if (data_dir / "dataset_dict.json").is_file() or (data_dir / "state.json").is_file():
        splits, notes = _saved(data_dir), []
    else:
        splits, notes = _parquet(data_dir)
    train, validation, names = _sources(data_dir, *splits)
    name = os.path.basename(os.path.abspath(data_dir)) or "hf"
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        class_names=names,
        target=None,
        fingerprint=_fingerprint(names, train, validation),
        in_memory=False,
        settings={"source": "hf"},
        notes=(*notes, *_missing(names, train, validation)),
        **shown(name, *_common_size(train, validation)),
    )


def _saved(folder: Path) -> tuple[list[str], list[str]]:
    """The Arrow files of the training and of the validation split of a `DatasetDict`."""
    if not (folder / "dataset_dict.json").is_file():
        raise UsageError(
            f"{folder} holds one split: save both together, "
            "dataset.train_test_split(0.1, seed=0).save_to_disk(FOLDER)"
        )
    splits = []
    said = folder / "dataset_dict.json"
    names = _json(said).get("splits", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UsageError(f"{said}: splits is no list of names; save or copy the data set again")
    for split in _train_and_validation(folder, names):
        state = folder / split / "state.json"
        try:
            files = [
                str(folder / split / file["filename"])
                for file in _json(state).get("_data_files", ())
            ]
        except (TypeError, KeyError) as error:
            raise UsageError(
                f"{state}: _data_files is no list of files; save or copy the data set again"
            ) from error
        if gone := [file for file in files if not os.path.isfile(file)]:
            raise UsageError(
                f"{state} names {gone[0]}, which is not there; save or copy the data set again"
            )
        splits.append(files)
    return splits


def _parquet(folder: Path) -> tuple[tuple[list[str], list[str]], list[str]]:
    """The same of Parquet files, copied; and what to say of it."""
    found: dict[str, dict[Path, list[Path]]] = {}
    unread = []
    for path in sorted(folder.rglob("*.parquet")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        split, configuration = _split_of(relative)
        if split is None:
            unread.append(relative)
        else:
            found.setdefault(split, {}).setdefault(configuration, []).append(path)
    if not found:
        raise UsageError(
            f"{folder} holds neither what datasets.save_to_disk wrote (dataset_dict.json) nor "
            "Parquet files named for their split, such as train-00000-of-00001.parquet"
        )
    splits, notes = [], []
    for split in _train_and_validation(folder, found):
        if len(found[split]) > 1:
            raise UsageError(
                f"{folder} holds several sets with a split {split} "
                f"({', '.join(map(str, found[split]))}): give --data_dir the folder of one"
            )
        (files,) = found[split].values()
        _require_all_shards(files)
        if len(stems := {_SHARD.sub("", path.stem) for path in files}) > 1:
            notes.append(f"{split}: files of several names, all read: {', '.join(sorted(stems))}")
        copy = _copied(files)
        splits.append([str(copy)])
        notes.append(f"{split}: copied from Parquet to {copy} ({copy.stat().st_size / 1e9:.1f} GB)")
    if unread:
        notes.append(f"passed over, of no split by name: {', '.join(map(str, unread[:3]))}")
    return splits, notes


def _split_of(relative: Path) -> tuple[str | None, Path]:
    """The split that a file's name or its folder's names, and what lies above the split."""
    if match := _SPLIT.match(relative.name.lower()):
        return match[1], relative.parent
    for folder in relative.parents:
        if match := _SPLIT.match(folder.name.lower()):
            return match[1], folder.parent
    return None, relative.parent


def _train_and_validation(folder, splits) -> tuple[str, str]:
    validation = next((split for split in VALIDATION_SPLITS if split in splits), None)
    if "train" not in splits or validation is None:
        raise UsageError(
            f"{folder} has the splits {', '.join(sorted(splits)) or 'none'}: expected train, and "
            f"one of {', '.join(VALIDATION_SPLITS)}"
        )
    return "train", validation


def _require_all_shards(files: list[Path]) -> None:
    for path in files:
        if (match := _SHARD.search(path.stem)) and int(match[2]) != len(files):
            raise UsageError(
                f"{path} is one of {int(match[2])} files and {len(files)} are there: download the "
                "data set again"
            )


def _copied(files: list[Path]) -> Path:
    """One Arrow file in the cache folder with images and labels of `files`; made where missing."""
    import pyarrow as pa
    import pyarrow.parquet

    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{os.path.realpath(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    copy = pathlib.Path(caches) / "jaxeff" / "parquet" / f"{digest.hexdigest()[:32]}.arrow"
    if copy.is_file():
        return copy
    temporary = None
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=copy.parent, prefix=f".{copy.name}.")
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(os.fdopen(descriptor, "wb"))
            writer = first = None
            for path in files:
                with _naming(path, "Parquet"):
                    parquet = pa.parquet.ParquetFile(path, memory_map=True)
                    columns = _columns(path, parquet.schema_arrow)
                    first = first or columns
                    _require_alike(path, columns, files[0], first)
                    for batch in parquet.iter_batches(_ROWS_AT_A_TIME, columns=columns[:2]):
                        if writer is None:
                            schema = batch.schema
                            writer = stack.enter_context(pa.ipc.new_stream(output, schema))
                        writer.write_batch(batch.cast(schema))
            if writer is None:
                raise UsageError(f"{files[0]} and the others of its split hold no images")
        os.replace(temporary, copy)
        temporary = None
    except OSError as error:
        raise UsageError(
            f"cannot copy {files[0]} to {copy}: {error.strerror or error}; make room, or name "
            "another cache folder by the variable XDG_CACHE_HOME"
        ) from error
    finally:
        if temporary is not None:
            os.unlink(temporary)
    return copy


def _sources(folder, train_files, validation_files):
    """Both splits, and the names of the classes."""
    train, validation = _Split("train", train_files), _Split("validation", validation_files)
    names = train.columns.class_names
    _require_alike("the validation split", validation.columns, "the training split", train.columns)
    if names is None:
        present = np.unique(train.labels)
        if len(present) <= present[-1]:
            raise UsageError(
                f"{folder}: the training labels go up to {present[-1]} and only {len(present)} of "
                "them have images: number the classes without gaps"
            )
        names = tuple(map(str, range(len(present))))
    for split in (train, validation):
        if len(beyond := split.labels[split.labels >= len(names)]):
            raise UsageError(
                f"{folder}: {split.name} has label {beyond[0]}, and there are {len(names)} classes"
            )
    return train.source(), validation.source(), names


def _require_alike(where, columns, elsewhere, others) -> None:
    """Refuses labels that mean another class than elsewhere, where both have names."""
    names = columns.class_names, others.class_names
    if None in names or names[0] == names[1]:
        return
    ours, theirs = next(pair for pair in itertools.zip_longest(*names) if pair[0] != pair[1])
    raise UsageError(
        f"{where} names class {names[0].index(ours) if ours else len(names[0])} {ours!r} and "
        f"{elsewhere} {theirs!r}: give both the same classes in the same order "
        "(dataset.cast_column with one ClassLabel), and save them again"
    )


class _Split:
    """The columns of one split, checked."""

    def __init__(self, name: str, files: list[str]):
        self.name, self._files = name, files
        if not files:
            raise UsageError(f"the split {name} has no files: save or copy the data set again")
        tables = [_table(file) for file in files]
        with _naming(files[0], "Arrow"):
            self.columns = _columns(files[0], tables[0].schema)
        labels = []
        for file, table in zip(files, tables, strict=True):
            missing = [key for key in self.columns[:2] if key not in table.column_names]
            if missing:
                raise UsageError(f"{file} has no column {missing[0]}, unlike {files[0]}")
            _require_alike(file, _columns(file, table.schema), files[0], self.columns)
            for chunk in table.column(self.columns.image).chunks:
                if count := _contents(chunk).null_count:
                    raise UsageError(
                        f"{file}: {count} images are given by path alone; save the set with the "
                        "images in it"
                    )
            column = table.column(self.columns.label)
            if column.null_count:
                raise UsageError(f"{file}: {column.null_count} images have no label; drop them")
            labels.append(column.to_numpy())
        self.labels = np.concatenate(labels)
        if not len(self.labels):
            raise UsageError(f"{files[0]}: the split {name} holds no images; add some")
        if (unlabelled := int((self.labels < 0).sum())) > 0:
            raise UsageError(
                f"{files[0]}: {unlabelled:,} labels of {name} are below 0, which the Hub writes "
                "where there is none: give a split with labels, or drop those images"
            )

    def source(self) -> ArrowSource:
        return ArrowSource(tuple(self._files), self.columns.image, self.labels.astype(np.int32))


def _columns(path, schema) -> _Columns:
    """Finds the columns, by their features where the file tells them and by name."""
    import pyarrow as pa

    features = _features(path, schema)

    def column(names, feature):
        marked = [name for name in schema.names if _kind(features.get(name)) == feature]
        if len(marked) == 1:
            return marked[0]
        return next((name for name in names if name in schema.names), None)

    image, label = column(("image", "img"), "Image"), column(("label",), "ClassLabel")
    if image is None or label is None:
        raise UsageError(
            f"{path} has the columns {', '.join(schema.names)}: expected image, the encoded files, "
            "and label, the classes"
        )
    kind = schema.field(image).type
    is_image = _is_binary(kind) or (
        pa.types.is_struct(kind)
        and any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    )
    if not is_image:
        raise UsageError(
            f"{path}: column {image} is {kind}, expected encoded image files, a feature "
            "datasets.Image()"
        )
    if not pa.types.is_integer(schema.field(label).type):
        raise UsageError(
            f"{path}: column {label} is {schema.field(label).type}, expected integers: "
            f"dataset.class_encode_column({label!r}) makes them"
        )
    feature = features.get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is not None and not isinstance(names, list):
        raise UsageError(f"{path}: the names of the classes are no list; save the data set again")
    return _Columns(image, label, None if names is None else tuple(map(str, names)))


def _features(path, schema) -> dict[str, Any]:
    """What `datasets` says of the columns in a file of its own; nothing in another."""
    said = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(said)["info"]["features"] if said != b"{}" else {}
    except (ValueError, RecursionError, KeyError, TypeError):
        features = {}  # Then the names of the columns tell what they are.
    return features if isinstance(features, dict) else {}


def _kind(feature):
    return feature.get("_type") if isinstance(feature, dict) else None


def _is_binary(kind) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _contents(chunk):
    """The encoded files of a chunk of the column of images."""
    import pyarrow as pa
    import pyarrow.compute

    return pa.compute.struct_field(chunk, "bytes") if pa.types.is_struct(chunk.type) else chunk


def _table(file: str):
    """The table in an Arrow stream; its columns stay on disk."""
    import pyarrow as pa

    with _naming(file, "Arrow"):
        table = pa.ipc.open_stream(pa.memory_map(file)).read_all()
        # Offsets that lead out of the file would be followed.
        table.validate(full=True)
        return table


@contextlib.contextmanager
def _naming(file, kind):
    """What goes wrong in reading a file names it."""
    import pyarrow as pa

    try:
        yield
    # Beside Arrow's own: names in no encoding, or twice, and its OSError of what is no such file.
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = " ".join(str(error).split())[:150]
        raise UsageError(
            f"{file} cannot be read as {kind} ({reason}): download or save the data set again"
        ) from error


def _fingerprint(names, *sources: ArrowSource) -> str:
    import pyarrow.compute as pc

    digest = hashlib.sha256("\0".join(names).encode())
    for source in sources:
        digest.update(b"\0\0%d\0" % len(source) + source.labels.astype("<i8").tobytes())
        for chunk in source._opened[1]:
            digest.update(pc.binary_length(chunk).to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _missing(names, *sources: ArrowSource) -> list[str]:
    notes = []
    for split, source in zip(("training", "validation"), sources, strict=True):
        if count := len(names) - len(np.unique(source.labels)):
            notes.append(f"{count} of {len(names)} classes have no {split} image")
    return notes


def _common_size(*sources: ArrowSource) -> tuple[int | None, int | None]:
    """Height and width of the images, where some of them agree; nothing is decoded."""
    sizes = set()
    for source in sources:
        for index in range(0, len(source), -(-len(source) // _LOOKED_AT)):
            try:
                with open_image(io.BytesIO(source[index]["image"])) as image:
                    sizes.add((image.height, image.width))
            except Exception:  # Whether a broken image stops the run is decided where it is used.
                return None, None
    return sizes.pop() if len(sizes) == 1 else (None, None)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} cannot be read ({' '.join(str(error).split())[:150]}): save or copy the data "
            "set again"
        ) from error
    return value
