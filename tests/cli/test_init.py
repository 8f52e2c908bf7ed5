"""`lookalike init`: what it finds, what it asks, what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner, Result

from lookalike import config_file
from lookalike.cli import init
from lookalike.cli.main import app
from lookalike.demo.catalogue import draw_catalogue

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_catalogue(folder, items=40, seed=3)
    return folder / "images"


@pytest.fixture
def shop(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and no catalogue."""
    shutil.copytree(pictures, tmp_path / "shop" / "photos")
    (tmp_path / "shop" / "tables").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shop"


def items(shop: Path) -> pa.Table:
    """A table in which several columns could be the ids and the pictures."""
    names = sorted(path.name for path in (shop / "photos").iterdir())
    return pa.table(
        {
            "title": [f"Product {at}" for at in range(40)],
            "SKU": [f"{at:05}" for at in range(40)],
            "parent": [str(at % 7) for at in range(40)],
            "price": [at + 0.5 for at in range(40)],
            "imageUrl": names,
            "page": ["https://shop.example/x"] * 40,
            "brand": [["a", "b", None][at % 3] for at in range(40)],
            "product type": [f"t{at % 4}" for at in range(40)],
        }
    )


def run(*words: str, typed: str | None = None) -> Result:
    return RUNNER.invoke(app, ["init", *words], input=typed)


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "items.parquet": pq.write_table,
    "items.csv": pc.write_csv,
    "items.jsonl": lambda table, path: path.write_text("\n".join(map(json.dumps, table.to_pylist()))),
    "delta": lambda table, path: write_deltalake(path, table),
}


@pytest.mark.parametrize("name", WRITERS)
def test_columns_and_pictures_are_found_in_any_format(shop: Path, name: str) -> None:
    WRITERS[name](items(shop), shop / "tables" / name)
    done = run(f"shop/tables/{name}")
    assert done.exit_code == 0, done.output
    settings = config_file.load(Path("lookalike.yaml"))
    source = settings.catalogue
    assert source.path == str(shop / "tables" / name)
    assert (source.item_id_column, source.image_path_column) == ("SKU", "imageUrl")
    assert source.image_root == str(shop / "photos")
    assert source.keep_columns == ("product type", "brand", "parent")
    assert settings.similar.group_by is None
    assert settings.warehouse.path == str(shop.parent / "warehouse")
    assert "Pictures: 10 of 10 tried can be read" in done.stdout
    assert "similar.group_by to product type" in done.stdout
    assert done.stdout.splitlines()[-1] == "lookalike run --config lookalike.yaml"
    assert len(Path("lookalike.yaml").read_text().splitlines()) <= 11


def test_folder_of_pictures_needs_no_columns(shop: Path) -> None:
    found = json.loads(run("shop/photos", "--json").stdout)
    assert found["settings"] == {
        "catalogue": {"path": str(shop / "photos")},
        "warehouse": {"path": str(shop.parent / "warehouse")},
    }
    assert found["pictures"] == {"tried": 10, "read": 10, "failed": {}}
    assert (found["format"], found["next"]) == ("a folder of pictures", "lookalike run --config lookalike.yaml")


def test_what_is_set_is_taken_and_written(shop: Path) -> None:
    pc.write_csv(items(shop), shop / "items.csv")
    words = ["--set", "catalogue.item_id_column=title", "--set", "catalogue.keep_columns=", "--set", "similar.k=7"]
    assert run("shop/items.csv", "--config", "my shop.yaml", "--warehouse", "s3://shop/w", *words).exit_code == 0
    settings = config_file.load(Path("my shop.yaml"))
    assert settings.catalogue.item_id_column == "title"
    assert settings.catalogue.keep_columns == ()
    assert (settings.similar.k, settings.warehouse.path) == (7, "s3://shop/w")


def test_pictures_that_cannot_be_read_are_named_with_the_reason(shop: Path) -> None:
    table = items(shop)
    broken = [f"gone/{name}" if at % 2 else name for at, name in enumerate(table["imageUrl"].to_pylist())]
    for name in broken[:20:2]:
        (shop / "photos" / name).write_bytes(b"<html>")
    pc.write_csv(table.set_column(4, "imageUrl", pa.array(broken)), shop / "items.csv")
    found = json.loads(run("shop/items.csv", "--json").stdout)["pictures"]
    assert found["read"] + sum(found["failed"].values()) == found["tried"] == 10
    assert found["failed"].keys() <= {"not_found", "not_an_image"}
    assert "not_an_image: " in run("shop/items.csv", "--force").stdout


def test_each_of_few_pictures_is_tried_once(shop: Path) -> None:
    names = ["gone.jpg", sorted(path.name for path in (shop / "photos").iterdir())[0], "lost.jpg"]
    Path("few.csv").write_text("id;image\n" + "".join(f"{at};{name}\n" for at, name in enumerate([*names, ""])))
    found = json.loads(run("few.csv", "--set", f"catalogue.image_root={shop}/photos", "--json").stdout)
    assert found["pictures"] == {"tried": 3, "read": 1, "failed": {"not_found": 2}}


def test_file_that_is_there_stays(shop: Path) -> None:
    Path("lookalike.yaml").write_text("mine")
    done = run("shop/photos")
    assert done.exit_code == 2
    assert "ConfigError: lookalike.yaml is there already; give another --config, or --force" in done.stderr
    assert Path("lookalike.yaml").read_text() == "mine"
    assert run("shop/photos", "--force").exit_code == 0
    assert config_file.load(Path("lookalike.yaml")).catalogue.path == str(shop / "photos")


REFUSED: dict[str, tuple[list[str], str]] = {
    "no catalogue": ([], "CATALOGUE is missing; name the file"),
    "nothing there": (["gone.csv"], "there is no file or folder '"),
    "a wrong setting": (
        ["shop/photos", "--set", "similar.kk=1"],
        "--set similar.kk=1: unknown key 'similar.kk'; did you mean",
    ),
    "no pictures": (["one.csv"], "no column looks like pictures; name it by --set catalogue.image_path_column=NAME"),
    "no ids": (["same.csv"], "no column looks like ids, unique and never empty; name it by --set catalogue.item_id"),
    "pictures that alone are unique": (
        ["link.csv", "--set", "catalogue.image_path_column=link"],
        "no column looks like ids, unique and never empty; name it by --set catalogue.item_id_column=NAME; there are:",
    ),
    "a place that is empty": (["shop/photos", "--warehouse="], "--warehouse is empty; give a value"),
    "no rows": (["none.csv"], "none.csv has no rows"),
    "a column that is not there": (
        ["same.csv", "--set", "catalogue.item_id_column=x"],
        "has no column 'x'; it has: image, n. Set catalogue.item_id_column",
    ),
    "no right to write": (["shop/photos", "--config", "/proc/x.yaml"], "--config /proc/x.yaml: cannot be written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_missing_is_one_line(shop: Path, case: str) -> None:
    Path("one.csv").write_text("item_id\na\nb\n")
    Path("same.csv").write_text("image,n\na.jpg,1\na.jpg,1\n")
    Path("link.csv").write_text("link,n\na,1\nb,1\n")
    Path("none.csv").write_text("item_id,image_path\n")
    words, said = REFUSED[case]
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if "Error" in line]) == 1
    assert not Path("lookalike.yaml").exists()


def test_lines_that_would_end_the_run_are_named(shop: Path) -> None:
    pc.write_csv(items(shop), shop / "items.csv")
    with (shop / "items.csv").open("a") as file:
        file.write("a,b\n")
    said = run("shop/items.csv").stdout
    assert "Lines that cannot be read, and would end the run\n  line 42 has 2 fields, and the header 8" in said
    assert "  To correct them, put a field with quotes" in said


def test_questions_are_asked_on_a_terminal_with_what_was_found_as_answers(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pc.write_csv(items(shop), shop / "items.csv")
    Path("lookalike.yaml").write_text("mine")
    monkeypatch.setattr(init.Asking, "is_terminal", lambda: True)
    answers = ["y", "shop/items.csv", "", "nonsense", "title", "", "brand"]
    done = run(typed="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    settings = config_file.load(Path("lookalike.yaml"))
    assert settings.catalogue.item_id_column == "title"
    assert settings.catalogue.image_path_column == "imageUrl"
    assert settings.similar.group_by == "brand"
    assert "there is no 'nonsense'" in done.stderr
    assert "Column of pictures [" not in done.stdout


def test_nothing_is_asked_with_yes(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init.Asking, "is_terminal", lambda: True)
    done = run("shop/photos", "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
