"""Runs a study in parallel, keeps finished blocks, and gives the same numbers however it is run.

A cell is simulated in blocks of repetitions. The random stream of a block depends only on the seed, the study, the
cell and the number of the block. So neither the number of workers nor the backend nor other cells change a number.
A finished block is a file. Its folder is named by a digest of everything that the numbers depend on, the code
included, so that blocks of other parameters or another version are never mistaken for these.

Wrap `run_study` in ``joblib.parallel_config(backend="dask")`` or ``backend="ray"`` to use a cluster.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import kvar
import simulations
from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.progress import progress_bar
from simulations.harness.study import Study

__all__ = ["Task", "failures_of", "result_key", "run_study", "study_key", "tasks"]


# The packages that results depend on.
_SOURCES = (kvar, simulations)


@dataclasses.dataclass(frozen=True)
class Task:
    """A block of repetitions of one cell."""

    cell: dict  # Settings of the cell
    block: int  # Number of the block, from 0
    repetitions: int  # Repetitions in the block

    @property
    def cell_text(self) -> str:
        """The cell as text, whatever the order of its settings."""
        return json.dumps(self.cell, sort_keys=True)

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the block."""
        return f"{hashlib.sha256(self.cell_text.encode()).hexdigest()[:16]}-{self.block:04d}.parquet"

    def generator(self, study: str, seed: int) -> np.random.Generator:
        """The block's random stream."""
        key = (zlib.crc32(study.encode()), zlib.crc32(self.cell_text.encode()), self.block)
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def tasks(study: Study) -> list[Task]:
    """All blocks of a study."""
    n, size = study.config.repetitions, study.config.block
    return [Task(cell, block, size) for cell in study.cells() for block in range(n // size)]


def source_digest() -> str:
    """Digest of all files of the packages that results depend on."""
    digest = hashlib.sha256()
    for folder in (Path(package.__file__).parent for package in _SOURCES):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def study_key(study: Study, seed: int) -> dict:
    """Everything that the numbers of a study depend on, except its cells, which name the files."""
    config = dataclasses.asdict(study.config)
    config.pop("repetitions")
    return {
        "study": study.name,
        "seed": seed,
        "config": config,
        "version": kvar.__version__,
        "source": source_digest(),
    }


def result_key(study: Study, seed: int, failures: Sequence[str] = ()) -> dict:
    """What the tables of a study depend on; failed blocks are part of it, so that it passes for no whole run."""
    key = {"study": study.name, "seed": seed, "config": dataclasses.asdict(study.config)}
    return key | {"failures": list(failures)} if failures else key


def _simulate(study: Study, task: Task, seed: int) -> dict[str, np.ndarray] | str:
    try:
        return study.simulate(task.cell, task.repetitions, task.generator(study.name, seed))
    except Exception as error:
        # A failure is a result: it becomes a row and is reported.
        return f"{type(error).__name__}: {error}"


def _outcomes(study: Study, todo: list[Task], seed: int, jobs: int | None) -> Iterator[tuple[int, object]]:
    """Number and outcome of each task as it finishes; in rounds where the backend can only return whole lists."""
    from joblib import Parallel, delayed

    def call(number):
        return delayed(_numbered)(number, study, todo[number], seed)

    try:
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    except ValueError:
        parallel = Parallel(n_jobs=jobs)
        size = 4 * max(1, parallel.n_jobs)
        for start in range(0, len(todo), size):
            yield from parallel(call(number) for number in range(start, min(start + size, len(todo))))
        return
    yield from parallel(call(number) for number in range(len(todo)))


def _numbered(number, study, task, seed):
    return number, _simulate(study, task, seed)


def run_study(study: Study, seed: int, folder: Path, jobs: int | None = None, progress: bool = False):
    """Simulate the blocks that are missing, and gather all repetitions.

    Parameters
    ----------
    study : Study
        The study.
    seed : int
        Seed of all randomness.
    folder : path
        Finished blocks are kept here, in a subfolder for each study and key.
    jobs : int, optional
        Parallel workers; by default what joblib's `parallel_config` says, else one.
    progress : bool
        Show a progress bar.

    Returns
    -------
    polars.DataFrame
        A row for each repetition and whatever else the study distinguishes, in the order of the tasks, with the
        settings of the cell and the number of the repetition. A block that failed is one row with the reason in
        ``failure``; it is not kept, so that the next run tries it again.
    """
    import polars

    key = study_key(study, seed)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    folder = Path(folder) / f"{study.name}-{digest}"
    atomic_write_text(folder / "key.json", json.dumps(key, indent=2, default=str) + "\n")
    everything = tasks(study)
    todo = [task for task in everything if not (folder / task.file_name).exists()]
    failures = {}
    with progress_bar(progress, study.name, len(everything), len(everything) - len(todo)) as (advance, _):
        for number, outcome in _outcomes(study, todo, seed, jobs):
            task = todo[number]
            if isinstance(outcome, str):
                failures[task.file_name] = outcome
            else:
                with atomic_write(folder / task.file_name) as temporary:
                    _frame(task, study.config.block, outcome).write_parquet(temporary)
            advance(1)
    frames = []
    for task in everything:
        if task.file_name in failures:
            frame = polars.DataFrame({**task.cell, "block": task.block, "failure": failures[task.file_name]})
        else:
            frame = polars.read_parquet(folder / task.file_name)
        frames.append(frame)
    return polars.concat(frames, how="diagonal_relaxed")


def failures_of(rows) -> list[str]:
    """Reason of each block that failed."""
    return rows["failure"].drop_nulls().to_list() if "failure" in rows.columns else []


def _frame(task: Task, block_size: int, outcome: dict[str, np.ndarray]):
    import polars

    n = len(outcome["repetition"])
    settings = {name: [value] * n for name, value in task.cell.items()}
    rest = {name: column for name, column in outcome.items() if name != "repetition"}
    repetition = np.asarray(outcome["repetition"]) + task.block * block_size
    return polars.DataFrame({**settings, "block": [task.block] * n, "repetition": repetition, **rest})
