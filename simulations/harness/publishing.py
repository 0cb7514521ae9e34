"""Writes what a study found: tables as CSV with their key, and from these tables pictures and a page of Markdown."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from polars import selectors

from kvar import plotting
from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.markdown import markdown_table
from simulations.harness.keyed_results import read_tables, write_key
from simulations.harness.running import failures_of, result_key
from simulations.harness.statistics import Claim
from simulations.harness.study import Study
from simulations.harness.tables import markdown

__all__ = ["kept_tables", "write_overview", "write_page", "write_tables"]

# Longer tables are left to their CSV file.
_LONGEST_TABLE = 30
_SIGNIFICANT_DIGITS = 8


def write_tables(study: Study, rows: pl.DataFrame, seed: int, folder: Path) -> None:
    """Condense the repetitions and write the tables of a study with their key."""
    failures = failures_of(rows)
    if len(failures) == len(rows):
        raise RuntimeError(f"every block of {study.name} failed, the first with {failures[0]}")
    files = []
    for name, table in study.tables(rows.filter(pl.col("repetition").is_not_null())).items():
        files.append(folder / f"{study.name}-{name}.csv")
        _write_csv(table, files[-1])
    write_key(folder / f"{study.name}.json", result_key(study, seed, failures), files)


def _write_csv(table: pl.DataFrame, path: Path) -> None:
    with atomic_write(path) as temporary:
        table.with_columns(selectors.float().round_sig_figs(_SIGNIFICANT_DIGITS)).write_csv(temporary)


def kept_tables(study: Study, seed: int, folder: Path, failures: Sequence[str] = ()) -> dict[str, pl.DataFrame]:
    """Read the tables of a study; those of a run with other failed blocks are refused."""
    tables = read_tables(folder / f"{study.name}.json", result_key(study, seed, failures))
    return {name.removeprefix(f"{study.name}-"): table for name, table in tables.items()}


def write_page(study: Study, seed: int, folder: Path, failures: Sequence[str] = ()) -> list[Claim]:
    """Judge the claims by the kept tables, and write them with the pictures and the page."""
    tables = kept_tables(study, seed, folder, failures)
    claims = study.claims(tables)
    if claims:
        _write_csv(pl.DataFrame([dataclasses.asdict(claim) for claim in claims]), _claims_file(study.name, folder))
    drawn = study.pictures(tables)
    for name, figure in drawn.items():
        plotting.save(figure, folder / f"{study.name}-{name}.png")
    atomic_write_text(folder / f"{study.name}.md", _page(study, seed, tables, claims, list(drawn), failures))
    return claims


def _claims_file(study: str, folder: Path) -> Path:
    return folder / f"{study}-claims.csv"


def _page(study, seed, tables, claims, drawn, failures) -> str:
    config = study.config
    settings = {
        f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in ("repetitions", "block")
    }
    listed = "; ".join(f"{name.replace('_', ' ')} {_listed(value)}" for name, value in settings.items())
    size = f"{config.repetitions} repetitions per cell in blocks of {config.block}, seed {seed}"
    parts = [
        f"# {study.title}",
        inspect.cleandoc(type(study).__doc__).replace("``", "`"),
        f"{size}; {listed}. ± is one Monte Carlo standard error; intervals are 95 %.",
    ]
    if failures:
        parts.append(f"{len(failures)} blocks failed and are left out: {'; '.join(sorted(set(failures)))}.")
    if claims:
        parts += ["## Claims", _claims_table(map(dataclasses.asdict, claims))]
    if remarks := study.remarks(tables):
        parts += ["## Findings", "\n".join(f"- {sentence}" for sentence in remarks)]
    parts += [f"![{name}]({study.name}-{name}.png)" for name in drawn]
    for name, table in tables.items():
        parts.append(f"## {name.capitalize()} ([CSV]({study.name}-{name}.csv))")
        parts.append(markdown(table) if len(table) <= _LONGEST_TABLE else f"{len(table)} rows, see the file.")
    return "\n\n".join(parts) + "\n"


def _listed(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _claims_table(rows) -> str:
    cells = []
    for row in rows:
        # A number without an interval has both limits at itself.
        interval = "" if row["low"] == row["high"] else f"{row['low']:.4g} to {row['high']:.4g}"
        cells.append([row["statement"], f"{row['value']:.4g}", interval, row["bound"], row["verdict"]])
    return markdown_table(["claim", "found", "95 % interval", "bound", "verdict"], cells)


def write_overview(folder: Path, studies: Mapping[str, type[Study]]) -> Path:
    """Gather the claims of all studies whose pages are in a folder."""
    parts = ["# What the simulations show", "Written by `python -m simulations`; each page names its seed and size."]
    for name, cls in studies.items():
        if not (folder / f"{name}.md").exists():
            continue
        parts.append(f"## [{cls.title}]({name}.md)")
        claims = _claims_file(name, folder)
        parts.append(
            _claims_table(pl.read_csv(claims).iter_rows(named=True)) if claims.exists() else "No claims; see its page."
        )
    atomic_write_text(folder / "summary.md", "\n\n".join(parts) + "\n")
    return folder / "summary.md"
