"""What is fast in reading a log does as the slow loop would."""

import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvar.readers import json_lines_file, lines, parquet_file, prompt_forms, read_log
from kvar.readers.prompt_cells import prompt_ids
from kvar.readers.prompt_forms import PromptForms
from kvar.readers.read_rows import codes
from kvar.readers.reading_notes import ReadingNotes
from kvar.rollouts.prompt_ids import prompt_key

NUMBERS = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0, float("nan")]), max_size=12)
WHOLE = st.lists(st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)]), max_size=12)


@given(NUMBERS.map(np.array) | NUMBERS.map(sorted).map(np.array) | WHOLE.map(lambda v: np.array(v, dtype=np.int64)))
def test_codes_number_the_different_values(values):
    np.testing.assert_array_equal(codes(values), np.unique(values, return_inverse=True)[1])


@given(st.lists(st.sampled_from(["a", "b", "", "ab"]), max_size=8))
def test_codes_of_texts(texts):
    np.testing.assert_array_equal(codes(texts), [sorted(set(texts)).index(text) for text in texts])


def lines_by_the_loop(content, longest):
    line, found = b"", []
    for byte in content:
        line += bytes([byte])
        if line.endswith(b"\n"):
            found.append(line)
            line = b""
    found += [line] if line else []
    return [lines.TOO_LONG if len(one.rstrip(b"\n")) >= longest else one.rstrip(b"\r\n") for one in found]


@settings(max_examples=200, deadline=None)
@given(st.text("ab\r\n", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_lines_are_the_same_wherever_pieces_end(text, ends):
    content, cuts = text.encode(), sorted({0, len(text), *(end for end in ends if end < len(text))})
    pieces = [content[start:stop] for start, stop in pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "chunks", lambda *_: iter(pieces))
        patch.setattr(lines, "LONGEST", 7)
        assert list(lines.lines(None)) == lines_by_the_loop(content, 7)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": NaN, "b": 1e999, "c": 123456789012345678901234567890}',
        b'{"a": 1, "a": 2} \t',
        b'{"a": 1} {"a": 2}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xff"}',
        b'{"a": ',
        b'{"',
        b'\xef\xbb\xbf{"a": 1}',
        ' {"a": "é"}'.encode("utf-16"),
        b'{"a": "' + b"[" * 5 + b'"}',
    ],
)
def test_a_line_is_parsed_as_by_json(line):
    try:
        expected = json.loads(line)
    except UnicodeDecodeError:
        expected = "not UTF-8"
    except ValueError:
        expected = "not JSON"
    assert repr(json_lines_file.parsed(line)) == repr(expected)


ROWS = [b'{"a": 1}', b'{"a": "\xed\xa0\x80", "b": [NaN]} \t', b'{"a": 1, "a": 2}']
NO_ROWS = [
    b"",
    b" ",
    b"3",
    b'"x"',
    b'{"a": [1',
    b"2]}",
    b'{"a": 1}, {"a": 2}',
    b'{"a": 1},null,{"a": 2}',
    b'{"a": "\xff"}',
    b"]",
    b"[" * 2000,
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ROWS), max_size=4) | st.lists(st.sampled_from(ROWS + NO_ROWS), max_size=5))
def test_lines_are_parsed_together_as_one_by_one(block):
    assert repr(json_lines_file._all_parsed(block)) == repr(list(map(json_lines_file.parsed, block)))


def test_equal_texts_of_a_parquet_file_are_one_object(tmp_path, rng):
    texts = ["", "a", None, "b" * 50, "a "]
    cells = [texts[k] for k in rng.integers(0, len(texts), 3000)]
    pl.DataFrame({"text": cells}).write_parquet(tmp_path / "texts.parquet")
    pieces = parquet_file.ParquetFile(tmp_path / "texts.parquet").tables(["text"], ReadingNotes())
    read = [piece.columns["text"] for piece in pieces]
    assert [cell for piece in read for cell in piece] == cells
    assert len(set(map(id, read[-1]))) == len(texts)


@pytest.mark.parametrize("most", [2**24, 3])
def test_ids_of_texts_do_not_depend_on_the_pieces(rng, monkeypatch, most):
    monkeypatch.setattr(prompt_forms, "_MOST_KNOWN", most)
    forms, texts = PromptForms(), ["one", "2", "three " * 9, "[1, 1, 5]", '[{"content": "x"}]', "on 2024-05-01"]
    for _ in range(5):
        piece = [texts[k] for k in rng.integers(0, len(texts), 30)]
        ids, missing, inexact = prompt_ids(piece, forms)
        assert ids.tolist() == [prompt_key(text) for text in piece]
        assert not missing.any()
        assert not inexact.any()
    assert min(forms.n_texts, forms.n_messages, forms.n_dated, forms.padding[1]) > 0
    assert (len(forms.known) == forms.n_texts + forms.n_messages + forms.padding[1]) == (most > 3)


@pytest.mark.parametrize("twice", [True, False])
def test_copies_are_found_among_many_groups(tmp_path, rng, twice):
    """Where all groups are repeated, and not where the first hundred happen to be."""
    rows = []
    for group in range(240):
        some = [{"step": group // 4, "prompt": f"p{group % 12}", "answer": f"{group} {k}"} for k in range(2)]
        some = [{**row, "reward": float(rng.integers(0, 2))} for row in some]
        again = some if twice or group < 120 else [{**row, "reward": 1 - row["reward"]} for row in some]
        rows += some + again
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    assert len(read_log(tmp_path / "log.parquet").trace) == (480 if twice else 960)
