"""Writes what a study found: tables as CSV with their key, pictures as PNG, and a page of Markdown with all of it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from kvar import plotting
from kvar.utils.atomic_files import atomic_write
from simulations.harness.keyed_results import write_key
from simulations.harness.running import failures_of, result_key
from simulations.harness.statistics import Claim
from simulations.harness.study import Study
from simulations.harness.tables import markdown

__all__ = ["publish", "write_overview"]

# Longer tables are left to their CSV file.
_LONGEST_TABLE = 30
_CLAIMS = "claims"


def publish(study: Study, rows: pl.DataFrame, seed: int, folder: Path) -> list[Claim]:
    """Write tables, pictures and page of a study."""
    failures = failures_of(rows)
    if len(failures) == len(rows):
        raise RuntimeError(f"every block of {study.name} failed, the first with {failures[0]}")
    rows = rows.filter(pl.col("repetition").is_not_null())
    tables = study.tables(rows)
    claims = study.claims(tables)
    if claims:
        tables |= {_CLAIMS: pl.DataFrame([dataclasses.asdict(claim) for claim in claims])}
    files = []
    for name, table in tables.items():
        files.append(folder / f"{study.name}-{name}.csv")
        with atomic_write(files[-1]) as temporary:
            table.write_csv(temporary, float_precision=6)
    write_key(folder / f"{study.name}.json", result_key(study, seed), files)
    drawn = study.pictures(tables)
    for name, figure in drawn.items():
        plotting.save(figure, folder / f"{study.name}-{name}.png")
    with atomic_write(folder / f"{study.name}.md") as temporary:
        temporary.write_text(_page(study, seed, tables, list(drawn), failures))
    return claims


def _page(study, seed, tables, drawn, failures) -> str:
    config = study.config
    settings = {
        f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in ("repetitions", "block")
    }
    told = "; ".join(f"{name.replace('_', ' ')} {_listed(value)}" for name, value in settings.items())
    size = f"{config.repetitions} repetitions a cell in blocks of {config.block}, seed {seed}"
    parts = [
        f"# {study.title}",
        inspect.cleandoc(type(study).__doc__).replace("``", "`"),
        f"{size}; {told}. ± is one Monte Carlo standard error; intervals are 95 %.",
    ]
    if failures:
        parts.append(f"{len(failures)} blocks failed and are left out: {'; '.join(sorted(set(failures)))}.")
    if _CLAIMS in tables:
        parts += ["## What was expected of it", _claims_table(tables[_CLAIMS])]
    if remarks := study.remarks(tables):
        parts += ["## What it says", "\n".join(f"- {sentence}" for sentence in remarks)]
    parts += [f"![{name}]({study.name}-{name}.png)" for name in drawn]
    for name, table in tables.items():
        if name != _CLAIMS:
            parts.append(f"## {name.capitalize()} ([CSV]({study.name}-{name}.csv))")
            short = len(table) <= _LONGEST_TABLE
            parts.append(markdown(table) if short else f"{len(table)} rows, see the file.")
    return "\n\n".join(parts) + "\n"


def _listed(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _claims_table(table: pl.DataFrame) -> str:
    lines = ["| claim | figure | 95 % interval | asked for | verdict |", "|---|---|---|---|---|"]
    for row in table.iter_rows(named=True):
        # A figure without an interval has both limits at itself.
        interval = "" if row["low"] == row["high"] else f"{row['low']:.4g} to {row['high']:.4g}"
        lines.append(f"| {row['statement']} | {row['value']:.4g} | {interval} | {row['bound']} | {row['verdict']} |")
    return "\n".join(lines)


def write_overview(folder: Path, studies: Mapping[str, type[Study]]) -> Path:
    """Gather the claims of all studies that were written to a folder."""
    parts = ["# What the simulations show", "Written by `python -m simulations run`; each page says its seed and size."]
    for name, cls in studies.items():
        if not (folder / f"{name}.md").exists():
            continue
        parts.append(f"## [{cls.title}]({name}.md)")
        claims = folder / f"{name}-{_CLAIMS}.csv"
        parts.append(
            _claims_table(pl.read_csv(claims)) if claims.exists() else "Nothing was asked of this one; see its page."
        )
    with atomic_write(folder / "summary.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    return folder / "summary.md"
