"""States of baselines on disk, complete or damaged."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import kvar
from llm_train.trainer.state_file import _digest, load_state, save_state
from tests.kvar.registered import SETTINGS, experienced


@pytest.mark.parametrize(("name", "parameters"), SETTINGS)
def test_every_state_comes_back_to_the_last_bit(name, parameters, tmp_path):
    baseline, other = experienced(name, parameters), kvar.make_baseline(name, **parameters)
    other.load_state_dict(load_state(save_state(baseline.state_dict(), tmp_path / "state")))
    np.testing.assert_equal(other.state_dict(), baseline.state_dict())


@pytest.fixture
def whole(tmp_path):
    """An undamaged state file, as bytes."""
    baseline = kvar.make_baseline("kernel")
    baseline.update(["a", 1], [[1.0], [0.0]], 0)
    return save_state(baseline.state_dict(), tmp_path / "state").read_bytes()


def test_a_truncated_file_is_refused(tmp_path, whole):
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut .*undamaged copy"):
            load_state(tmp_path / "cut")


def test_a_flipped_bit_is_refused(tmp_path, whole, rng):
    for place in rng.choice(8 * len(whole), size=500, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged .*(undamaged copy|kvar wrote)"):
            load_state(tmp_path / "damaged")


@pytest.mark.parametrize(
    "header", ["", "[", '{"a": {"kvar": "nowhere"}}', '{"kvar": 1}', '{"kvar": ["/a"]}', "[" * 100_000]
)
def test_a_header_that_is_no_state_is_refused(header, tmp_path):
    tensors = {"/a": np.zeros(2)}
    save_file(tensors, tmp_path / "state", metadata={"kvar": header, "blake2b": _digest(header, tensors)})
    with pytest.raises(ValueError, match=r"state .*header"):
        load_state(tmp_path / "state")


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"weight": np.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors .*no kvar state"):
        load_state(tmp_path / "model.safetensors")
    save_file({}, tmp_path / "older", metadata={"kvar": "{}"})
    with pytest.raises(ValueError, match=r"older .*checksum"):
        load_state(tmp_path / "older")
