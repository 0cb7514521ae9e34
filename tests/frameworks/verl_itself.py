"""The plug-in of verl through verl's own code: both trainers, without a GPU or a queue's processes."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.trainer.ppo import core_algos, padding_utils, ray_trainer
from verl.trainer.ppo.v1 import PPOTrainerSync, trainer_base
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

import kvar
from llm_train.plugins import verl
from tests.llm_train.test_plugins import PROMPTS, RANDOM_UID, STEPS, column_of, expected, token_level

N_SESSIONS = 2
OWN = {"fetch": PPOTrainerSync._fetch_one_gen_batch, "compute": trainer_base.compute_advantage_for_multi_trajectories}


class Queue:
    """In place of verl's queue of processes: rows by name, handed out as verl's own function lays them out."""

    def __init__(self):
        self.rows = {}

    def kv_batch_put(self, keys, partition_id, fields, tags=None):
        for k, key in enumerate(keys):
            given = {name: fields[name][k] for name in fields.keys()}  # noqa: SIM118, a TensorDict
            self.rows.setdefault(key, {}).update(given)
        return KVBatchMeta(keys=list(keys), tags=tags or [{} for _ in keys], partition_id=partition_id)

    def kv_batch_get(self, keys, partition_id, select_fields=None):
        return list_of_dict_to_tensordict(
            [
                {name: value for name, value in self.rows[key].items() if not select_fields or name in select_fields}
                for key in keys
            ]
        )


@pytest.fixture
def queue(monkeypatch):
    """A queue that verl's functions use, and verl as it was afterwards."""
    queue = Queue()
    for module in (trainer_base, padding_utils):
        monkeypatch.setattr(module, "tq", queue)
    monkeypatch.setattr(core_algos, "ADV_ESTIMATOR_REGISTRY", dict(core_algos.ADV_ESTIMATOR_REGISTRY))
    monkeypatch.setattr(trainer_base.PPOTrainer, "_fetch_one_gen_batch", OWN["fetch"])
    monkeypatch.setattr(trainer_base, "compute_advantage_for_multi_trajectories", OWN["compute"])
    monkeypatch.setattr(ray_trainer, "compute_advantage", ray_trainer.compute_advantage)
    return queue


def trainer_with(estimator, epochs):
    trainer = object.__new__(PPOTrainerSync)
    trainer.train_dataloader, trainer.train_dataloader_it = epochs, None
    trainer.config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": estimator, "use_kl_in_reward": False, "gamma": 1.0, "lam": 1.0},
            "actor_rollout_ref": {"rollout": {"n": N_SESSIONS}},
        }
    )
    return trainer


def dataset(named_by):
    """Three prompts as verl's loader collates them."""
    infos = [{"index": p} if named_by == "rows" else {} for p in (7, 8, 9)]
    texts = ["solve it" if named_by == "rows" else f"question {p}" for p in (7, 8, 9)]
    return {
        "raw_prompt": column_of([[{"role": "user", "content": text}] for text in texts] + [None])[:-1],
        "extra_info": column_of(infos),
        "data_source": column_of(["gsm8k"] * 3),
    }


def generate(queue, batch, rng, rewards):
    """What verl's agent loops write: 1 to 3 outputs a session, all with the reward of the session."""
    keys, fields, sessions = [], [], []
    for uid, group in zip(batch["uid"], rewards, strict=True):
        for session, reward in enumerate(group):
            sizes = rng.integers(1, 5, size=rng.integers(1, 4))
            logprobs = [-rng.exponential(size=size).astype(np.float32) for size in sizes]
            sessions.append(np.concatenate(logprobs))
            for output, row in enumerate(logprobs):
                keys.append(f"{uid}_{session}_{output}")
                scores, ones = torch.zeros(len(row)), torch.ones(len(row), dtype=torch.int64)
                scores[-1] = reward
                given = {"uid": uid, "response_mask": ones, "rm_scores": scores, "responses": ones, "prompts": ones}
                given |= {"rollout_log_probs": torch.zeros(len(row)), "old_log_probs": torch.tensor(row)}
                fields.append(given)
    for key, row in zip(keys, fields, strict=True):
        queue.rows[key] = row
    batch = KVBatchMeta(keys=keys, tags=[{} for _ in keys], partition_id="train")
    batch = padding_utils.upsample_batch_to_divisible_size(batch, 8, eos_token_id=0)
    for key in batch.keys:  # verl's actor computes these after the padding
        row = queue.rows[key]
        if len(row["old_log_probs"]) != len(row["response_mask"]):
            row["old_log_probs"] = torch.full((len(row["response_mask"]),), -1.0)
    batch.reorder(rng.permutation(len(batch)).tolist())
    return batch, sessions


@pytest.mark.parametrize("named_by", ["rows", "text"])
@pytest.mark.parametrize("baseline", ["adaptive", "variance-optimal"])
def test_the_v1_trainer_gives_the_advantages_of_the_plain_loop(queue, baseline, named_by):
    verl.register("kvar-test", baseline=baseline)
    verl.use_stable_keys()
    trainer = trainer_with("kvar-test", [dataset(named_by)])  # one batch an epoch
    rng, plain, seen = np.random.default_rng(0), kvar.make_baseline(baseline), set()
    for step in range(1, 5):
        rewards = rng.integers(2, size=(3, N_SESSIONS)).astype(float)
        batch, sessions = generate(queue, trainer._fetch_one_gen_batch(), rng, rewards)
        assert not seen & set(batch.keys)
        seen.update(batch.keys)
        trainer._compute_advantage(batch, metrics={})

        norms = [kvar.score_norm_from_logprobs(session) for session in sessions]
        wanted = plain.advantages([7, 8, 9], rewards, step, score_norm=np.reshape(norms, rewards.shape)).ravel()
        names = list(dict.fromkeys(key.rsplit("_", 1)[0] for key in queue.rows if key in batch.keys))
        names = [name for name in names if not name.startswith("pad")]
        for key in batch.keys:
            found = queue.rows[key]["advantages"].numpy()
            name = key.rsplit("_", 1)[0]
            value = 0.0 if key.startswith("pad") else wanted[names.index(name)]
            np.testing.assert_allclose(found, np.full(len(found), value), atol=1e-6)
    assert any(key.startswith("pad") for key in seen)


def test_the_v1_trainer_without_stable_keys_is_refused(queue):
    verl.register("kvar-test")
    trainer = trainer_with("kvar-test", [dataset("rows")])
    batch, _ = generate(queue, trainer._fetch_one_gen_batch(), np.random.default_rng(0), np.ones((3, N_SESSIONS)))
    with pytest.raises(ValueError, match=r"new names at every step.*use_stable_keys\(\)"):
        trainer._compute_advantage(batch, metrics={})
    # Installed after the prompts were named.
    verl.use_stable_keys()
    with pytest.raises(ValueError, match=r"new names at every step.*use_stable_keys\(\)"):
        trainer._compute_advantage(batch, metrics={})


def test_verls_own_grpo_stays_as_it_is(queue):
    found = []
    for wrapped in (False, True):
        if wrapped:
            verl.use_stable_keys()
        trainer, rng = trainer_with("grpo", [dataset("rows")]), np.random.default_rng(1)
        batch, _ = generate(queue, trainer._fetch_one_gen_batch(), rng, rng.integers(2, size=(3, N_SESSIONS)))
        trainer._compute_advantage(batch, metrics={})
        found.append(torch.cat([queue.rows[key]["advantages"] for key in batch.keys if not key.startswith("pad")]))
    assert torch.equal(*found)
    assert found[0].any()


def test_the_legacy_trainer(queue):
    verl.register("kvar-test")
    assert isinstance(core_algos.get_adv_estimator_fn("kvar-test"), verl.AdvantageEstimator)
    table, mask = token_level(STEPS[0])
    data = DataProto.from_dict(
        tensors={"token_level_rewards": table, "response_mask": mask},
        non_tensors={
            "uid": column_of([RANDOM_UID] * 6),
            "extra_info": column_of([{"index": p} for p in PROMPTS]),
        },
    )
    with pytest.raises(ValueError, match=f"got uid {RANDOM_UID}"):
        ray_trainer.compute_advantage(data, adv_estimator="kvar-test")
    verl.use_stable_keys()
    done = ray_trainer.compute_advantage(data, adv_estimator="kvar-test")
    np.testing.assert_allclose(done.batch["advantages"], expected()[0][:, None] * mask.numpy(), atol=1e-7)


def test_another_version_is_refused(queue, monkeypatch):
    monkeypatch.delattr(trainer_base, "compute_advantage_for_multi_trajectories")
    with pytest.raises(AttributeError, match=r"has no compute_advantage_for_multi_trajectories.*verl"):
        verl.use_stable_keys()
