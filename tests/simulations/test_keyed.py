"""Results are refused unless they were made with what is wanted, by this version, and are still the same files."""

import polars as pl
import pytest

import kvar
from simulations.harness.keyed_results import StaleResultError, digest, read_tables, write_key

PARAMETERS = {"seed": 0, "sizes": (1, 2), "rate": 0.1}


@pytest.fixture
def key(tmp_path):
    pl.DataFrame({"x": [1.5, 2.5]}).write_csv(tmp_path / "a.csv")
    pl.DataFrame({"y": ["p"]}).write_csv(tmp_path / "b.csv")
    write_key(tmp_path / "a.json", PARAMETERS, [tmp_path / "a.csv", tmp_path / "b.csv"])
    return tmp_path / "a.json"


def test_what_is_written_is_read(key):
    tables = read_tables(key, PARAMETERS)
    assert tables["a"]["x"].to_list() == [1.5, 2.5]
    assert tables["b"]["y"].to_list() == ["p"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"sizes": (1,)}, {"rate": 0.1000001}, {"more": True}])
def test_other_parameters_are_refused(key, change):
    with pytest.raises(StaleResultError, match="is of parameters"):
        read_tables(key, PARAMETERS | change)


def test_another_version_is_refused(key, monkeypatch):
    monkeypatch.setattr(kvar, "__version__", "99")
    with pytest.raises(StaleResultError, match=r"is of version .0\.1\.0., not .99."):
        read_tables(key, PARAMETERS)


def test_an_edited_file_is_refused(key):
    (key.parent / "a.csv").write_text("x\n1.5\n2.6\n")
    with pytest.raises(StaleResultError, match=r"a\.csv is not the file"):
        read_tables(key, PARAMETERS)


def test_missing_results_are_named(tmp_path):
    with pytest.raises(StaleResultError, match=r"there is no .*a\.json"):
        read_tables(tmp_path / "a.json", {})


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_text("one")
    assert digest(tmp_path / "x") == digest(tmp_path / "y")
    (tmp_path / "y" / "2").write_text("two")
    assert digest(tmp_path / "x") != digest(tmp_path / "y")
