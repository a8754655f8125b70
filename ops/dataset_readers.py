#!/usr/bin/env python3
"""Opens data sets that `make-dataset` makes with other people's readers.

    python3 ops/dataset_readers.py MAKE_DATASET FOLDER
"""

import glob
import json
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.parquet
import webdataset

ROWS = 12
MAKE, WORK = sys.argv[1], Path(sys.argv[2])


def make(name, shards, *words):
    folder = WORK / name
    subprocess.run([MAKE, folder, str(shards), *words], check=True)
    return folder


def keys(shards):
    return [f"cup-{row:04}" for row in range(shards * ROWS)]


def check_row(row, number):
    assert row["row"] == number and row["key"] == f"cup-{number:04}", row
    assert isinstance(row["guidance"], float) and row["guidance"] == (4.0 if number < ROWS else 3.5), row
    assert row["scores"]["dino"] == (None if number < ROWS else 1.0), row
    assert row["scores"]["csd"] is None and row["started_ms"] is None, row
    assert row["content"] == (None if number < ROWS else "s3://uso/references/cup.png"), row
    assert list(row["styles"]) == ([] if number < ROWS else ["s3://uso/references/a.png"]), row
    loras = [] if number < ROWS else [{"name": "ink", "weight": 1.0, "digest": None}]
    assert [dict(lora) for lora in row["loras"]] == loras, row
    assert (row["metadata"] is None) == (number < ROWS), row
    assert number < ROWS or json.loads(row["metadata"])["n"] == number, row


def with_datasets(folder, shards, split="train"):
    """Without arguments: exactly the rows there are."""
    found = datasets.load_dataset(str(folder))
    assert list(found) == [split], found
    rows = found[split]
    assert rows.num_rows == shards * ROWS, rows
    assert rows["__key__"][:] == keys(shards)
    for number in range(rows.num_rows):
        row = rows[number]
        assert row["png"].size == (48, 32) and row["txt"] == f"a cup, number {number}", row
        check_row(row["json"], number)
    return rows


def with_datasets_streaming(folder, shards):
    rows = datasets.load_dataset(str(folder), split="train", streaming=True)
    assert [row["json"]["key"] for row in rows] == keys(shards)


def with_webdataset(folder, shards):
    tars = sorted(glob.glob(f"{folder}/*.tar"))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == keys(shards)
    for number, sample in enumerate(samples):
        assert sample["png"].size == (48, 32) and sample["txt"] == f"a cup, number {number}", sample
        check_row(sample["json"], number)


def with_pyarrow(folder, shards):
    files = sorted(glob.glob(f"{folder}/_meta/*.parquet"))
    assert len(files) == shards
    schemas = [pyarrow.parquet.read_schema(file) for file in files]
    assert all(schema == schemas[0] for schema in schemas)
    rows = pyarrow.parquet.read_table(files).to_pylist()
    for number, row in enumerate(rows):
        check_row(row, number)
    in_tars = [sample["json"] for sample in
               webdataset.WebDataset(sorted(glob.glob(f"{folder}/*.tar")), shardshuffle=False).decode()]
    assert rows == in_tars, "the row files differ from the tars"


def with_imagefolder(folder, sides):
    found = datasets.load_dataset("imagefolder", data_dir=str(folder))
    assert {name: rows.num_rows for name, rows in found.items()} == sides, found
    row = next(iter(found.values()))[0]
    assert row["image"].size == (48, 32) and row["prompt"].startswith("a cup"), row


def main():
    for shards in (1, 3):
        folder = make("plain", shards)
        with_datasets(folder / "shards", shards)
        with_datasets_streaming(folder / "shards", shards)
        with_webdataset(folder / "shards", shards)
        with_pyarrow(folder / "shards", shards)
        with_imagefolder(folder / "imagefolder", {"train": shards * ROWS})
        assert len(list((folder / "files").iterdir())) == 3 * shards * ROWS
        print(f"{shards} shards: datasets, webdataset and pyarrow see {shards * ROWS} rows")

    folder = make("split", 3, "split")
    rows = with_datasets(folder / "shards", 3, "rows")
    index = json.loads((folder / "shards/index.json").read_text())
    sides = index["total"]["splits"]
    assert sum(sides.values()) == 3 * ROWS and set(sides) == {"train", "validation"}, sides
    train = rows.filter(lambda row: row["split"] == "train", input_columns="json")
    assert train.num_rows == sides["train"]
    with_imagefolder(folder / "imagefolder", sides)
    print(f"with a split: {sides}")

    # What was not downloaded is missed, not passed over.
    (folder / "shards/00001.tar").unlink()
    try:
        datasets.load_dataset(str(folder / "shards"))
    except FileNotFoundError:
        print("a shard that was not downloaded is missed")
    else:
        raise AssertionError("a missing shard is passed over")


main()
