"""Estimated parts of the gradient's variance against exact ones; the variance-optimal baseline against a loop."""

import numpy as np
import pytest

import kvar
from kvar.baselines.score_weighted import ScoreWeighted
from kvar.kernels import get_kernel
from kvar.rollouts.trace import Trace
from kvar.variance import ScoreMoments, compare_gradients, gradient_variance
from simulations.bandit.bandits import BanditConfig, PolicyBandit

NAN = float("nan")


def trace_of(prompts, rewards, **columns):
    """Steps of (B,) prompts with (B, G) rewards, as rows."""
    steps, size, group = rewards.shape
    whole = {"step": np.repeat(np.arange(steps), size * group), "prompt_id": np.repeat(prompts.ravel(), group)}
    return Trace.from_columns(whole | {"reward": rewards.ravel()} | columns)


def bandit_trace(rng, group, n_steps=1500):
    """A policy at rest, its rollouts as a trace with sketches, and its exact moments."""
    bandit = PolicyBandit(BanditConfig(n_prompts=12, n_completions=6, n_features=3, individual=0.0), 1, rng)
    policy = bandit.initial_policy()
    prompts = np.stack([rng.permutation(12)[:4] for _ in range(n_steps)])
    rollouts = [bandit.sample(policy, p[None], group, rng) for p in prompts]
    rewards = np.concatenate([r.rewards for r in rollouts])
    scores = np.concatenate([r.scores for r in rollouts])
    true_values = np.repeat(np.concatenate([r.values for r in rollouts]).ravel(), group)
    columns = {f"sketch_{k}": scores[..., k].ravel() for k in range(3)} | {"true_value": true_values}
    every = bandit.sample(policy, np.arange(12)[None], 1, rng)
    # Pairs of different prompts among 12 are a little further apart than independent ones.
    prompt_part = float(bandit.prompt_variance(policy)[0]) * 12 / 11
    return trace_of(prompts, rewards, **columns), every, prompt_part


def close(interval, exact):
    assert abs(interval.mean - exact) < 4 * interval.standard_error


@pytest.mark.parametrize("group", [2, 4])
def test_parts_of_a_bandit_are_the_exact_ones(group, rng):
    trace, every, prompt_part = bandit_trace(rng, group)
    actual = gradient_variance(trace, "none")
    close(actual.prompt, prompt_part)
    close(actual.reward, every.moments.reward_part.mean())
    close(actual.baseline, every.moments.baseline_part(-every.values[..., None]).mean())
    others = gradient_variance(trace, "leave-one-out")
    variance = (every.values * (1 - every.values))[..., None]
    close(others.baseline, every.moments.leave_one_out_part(variance, group).mean())
    # P and R do not depend on the baseline, even if it uses the group.
    assert (others.prompt, others.reward) == (actual.prompt, actual.reward)
    assert gradient_variance(trace, "oracle").baseline.mean == pytest.approx(0.0, abs=1e-12)


def test_groups_of_three_suffice_without_true_values(rng):
    trace, every, prompt_part = bandit_trace(rng, 3)
    extras = {name: column for name, column in trace.extras.items() if name != "true_value"}
    unlabelled = Trace(trace.step, trace.prompt_id, trace.rollout, trace.reward, extras)
    actual = gradient_variance(unlabelled, "none")
    close(actual.prompt, prompt_part)
    close(actual.reward, every.moments.reward_part.mean())
    close(actual.baseline, every.moments.baseline_part(-every.values[..., None]).mean())
    others = gradient_variance(unlabelled, "leave-one-out")
    assert (others.prompt, others.reward) == (actual.prompt, actual.reward)


def test_norms_alone_leave_the_signal_in_the_reward_part(rng):
    trace, every, _ = bandit_trace(rng, 2)
    norm = np.sqrt(sum(trace.extras[f"sketch_{k}"] ** 2 for k in range(3)))
    extras = {"score_norm": norm, "true_value": trace.extras["true_value"]}
    actual = gradient_variance(Trace(trace.step, trace.prompt_id, trace.rollout, trace.reward, extras), "none")
    assert actual.prompt is None
    close(actual.reward, every.moments.noise.mean())
    close(actual.baseline, every.moments.baseline_part(-every.values[..., None]).mean())


def test_one_rollout_a_prompt_leaves_the_signal_in_the_reward_part(rng):
    trace, every, _ = bandit_trace(rng, 1)
    actual = gradient_variance(trace, "none")
    assert actual.prompt is None
    close(actual.reward, every.moments.noise.mean())
    assert np.isfinite(actual.mse(4, 1))


def test_the_scaled_group_mean_is_leave_one_out(rng):
    trace, _, _ = bandit_trace(rng, 3, n_steps=20)
    one, other = (gradient_variance(trace, name) for name in ("group-mean", "leave-one-out"))
    assert one.baseline.mean == pytest.approx(other.baseline.mean)
    assert one.mse(4, 3) == pytest.approx(other.mse(4, 3))


def test_parts_by_hand():
    rewards = np.array([[[1.0, 0.0, 0.0]]])
    actual = gradient_variance(trace_of(np.array([[7]]), rewards, score_norm=np.full(3, 2.0)), "none")
    # (Z_g - Z_j)(Z_g - Z_k) is 1 for the first and 0 for the others; Z^2 likewise; norms squared are 4.
    assert actual.reward.mean == pytest.approx(4 / 3)
    assert actual.baseline.mean == pytest.approx(0.0)
    assert actual.mse(2, 3) == pytest.approx(4 / 3 / 6)
    assert actual.oracle_gap(3) == pytest.approx(0.0)


def test_missing_rewards_are_left_out_and_missing_columns_are_named(rng):
    rewards = np.array([[[1.0, 0.0, NAN, 0.0]], [[0.0, 1.0, 1.0, NAN]]])
    prompts = np.array([[1], [2]])
    actual = gradient_variance(trace_of(prompts, rewards, score_norm=np.ones(8)), "none")
    assert actual.reward.n_rollouts == 6
    with pytest.raises(ValueError, match="needs the column 'score_norm'"):
        gradient_variance(trace_of(prompts, rewards), "none")
    with pytest.raises(ValueError, match="row 1 has a score of norm -1"):
        gradient_variance(trace_of(prompts, rewards, score_norm=np.array([1.0, -1, 1, 1, 1, 1, 1, 1])), "none")
    pairs = trace_of(prompts, rewards[..., :2], score_norm=np.ones(4))
    with pytest.raises(ValueError, match="true_value, or groups of three"):
        gradient_variance(pairs, "none")


def test_the_optimal_shift_is_the_best_error():
    moments = ScoreMoments(np.array([2.0, 3.0]), np.array([0.5, -0.3]), np.array([1.0, 1.0]), np.array([0.2, 0.1]))
    best = moments.baseline_part(moments.optimal_shift)
    assert best == pytest.approx([-(0.5**2) / 2, -(0.3**2) / 3])
    for error in np.linspace(-1, 1, 41):
        assert (moments.baseline_part(np.full(2, error)) >= best - 1e-15).all()
    assert moments.reward_part == pytest.approx([0.8, 0.9])


def test_the_optimal_baseline_of_the_tiny_policy(rng):
    """Parts and optimal baseline of a language model, against sums over all of its completions of one token."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    from llm_train.policy.exact_value import answer_log_probabilities
    from llm_train.policy.tiny import make_policy, make_tokenizer

    tokenizer = make_tokenizer()
    model = make_policy(tokenizer, seed=0)
    prompts = [tokenizer(text)["input_ids"] for text in ("1+2=", "30+4=", "7*8=")]
    completions = list(range(len(tokenizer)))
    right = np.array([token % 2 == 0 for token in completions], dtype=float)
    generator = torch.Generator().manual_seed(0)
    # A random projection of the last layer's score that preserves squared norms in expectation.
    weights = [p for name, p in model.named_parameters() if "layers.3.mlp" in name]
    size = sum(w.numel() for w in weights)
    projection = torch.randn(size, 4, generator=generator) / 2.0
    chances, scores, norms = (np.empty((3, len(completions), *more)) for more in ((), (4,), ()))
    for p, prompt in enumerate(prompts):
        for token in completions:
            log_probability = answer_log_probabilities(model, [prompt], [[token]]).sum()
            score = torch.cat([g.ravel() for g in torch.autograd.grad(log_probability, weights)])
            chances[p, token] = log_probability.exp().item()
            scores[p, token] = (score @ projection).numpy()
            norms[p, token] = score.norm().item()
    values = chances @ right
    assert chances.sum(axis=1) == pytest.approx(1.0, abs=1e-5)

    n_steps, group = 800, 3
    drawn = np.stack([rng.choice(len(completions), size=(n_steps, group), p=c / c.sum()) for c in chances], axis=1)
    every = np.broadcast_to(np.arange(3), (n_steps, 3))
    at = (every[..., None], drawn)
    columns = {f"sketch_{k}": scores[(*at, k)].ravel() for k in range(4)}
    true_values = np.repeat(np.broadcast_to(values, (n_steps, 3)).ravel(), group)
    trace = trace_of(every, right[drawn], **columns, score_norm=norms[at].ravel(), true_value=true_values)
    actual = gradient_variance(trace, "none")
    gradients = np.einsum("pc,c,pcd->pd", chances, right, scores)
    above = right - values[:, None]
    noise = (chances * norms**2 * above**2).sum(axis=1)
    close(actual.reward, (noise - (gradients**2).sum(axis=1)).mean())
    close(actual.baseline, (chances * norms**2 * (right**2 - above**2)).sum(axis=1).mean())
    spread = ((gradients - gradients.mean(axis=0)) ** 2).sum(axis=1).mean() * 3 / 2
    close(actual.prompt, spread)

    best = (chances * norms**2) @ right / (chances * norms**2).sum(axis=1)
    assert np.abs(best - values).max() > 0.01
    baseline = ScoreWeighted(bandwidth=1e6)
    for step in range(n_steps):
        baseline.update([0, 1, 2], right[drawn[step]], step, score_norm=norms[every[0][:, None], drawn[step]])
    estimate = baseline.estimate([0, 1, 2], np.zeros((3, 1)), n_steps, score_norm=np.ones((3, 1)))[:, 0]
    squares = norms[at] ** 2
    error = (
        (squares * (right[drawn] - best[:, None])).std(axis=(0, 2))
        / squares.mean(axis=(0, 2))
        / np.sqrt(n_steps * group)
    )
    assert (np.abs(estimate - best) < 4 * error).all()


# --- the variance-optimal baseline --------------------------------------------------------------------------------


def steps_of(rng, n_steps=8):
    return [(rng.permutation(6)[:4], rng.random((4, 3)), rng.random((4, 3)) + 0.2) for _ in range(n_steps)]


@pytest.mark.parametrize("kernel", kvar.kernel_names())
def test_score_weights_against_a_loop(kernel, rng):
    baseline, seen = ScoreWeighted(bandwidth=3.0, kernel=kernel), []
    weight = get_kernel(kernel)
    for step, (ids, rewards, norms) in enumerate(steps_of(rng)):
        actual = baseline.estimate(ids, rewards, step, score_norm=norms)
        for row, prompt in enumerate(ids):
            for g in range(3):
                pairs = [(weight((step - s) / 3.0) * n**2, z) for s, p, z, n in seen if p == prompt]
                pairs += [(weight(0.0) * norms[row, k] ** 2, rewards[row, k]) for k in range(3) if k != g]
                expected = sum(w * z for w, z in pairs) / sum(w for w, _ in pairs)
                assert actual[row, g] == pytest.approx(expected, rel=1e-12)
        baseline.update(ids, rewards, step, score_norm=norms)
        seen += [
            (step, p, z, n) for p, zs, ns in zip(ids, rewards, norms, strict=True) for z, n in zip(zs, ns, strict=True)
        ]


def test_equal_norms_give_the_kernel_baseline(rng):
    weighted, plain = ScoreWeighted(), kvar.make_baseline("kernel")
    for step, (ids, rewards, _) in enumerate(steps_of(rng)):
        mine = weighted.advantages(ids, rewards, step, score_norm=np.full((4, 3), 2.0))
        np.testing.assert_allclose(mine, plain.advantages(ids, rewards, step), atol=1e-14)


def test_a_score_that_is_missing_with_its_reward_changes_nothing(rng):
    trace, _, _ = bandit_trace(rng, 4, n_steps=30)
    reward = trace.reward.copy()
    reward[::7] = np.nan
    broken = {name: np.where(np.isnan(reward), np.nan, column) for name, column in trace.extras.items()}
    whole, holed = (
        gradient_variance(Trace(trace.step, trace.prompt_id, trace.rollout, reward, extras), "none")
        for extras in (trace.extras, broken)
    )
    assert whole == holed


def test_score_weights_refuse_missing_norms():
    with pytest.raises(ValueError, match="score_norm holds nan; norms of scores are finite"):
        ScoreWeighted().estimate(["a"], [[1.0, 1.0]], 1, score_norm=[[1.0, np.nan]])
    for call in (ScoreWeighted().update, ScoreWeighted().estimate):
        with pytest.raises(ValueError, match="needs score_norm"):
            call(["a"], [[1.0, 1.0]], 1)
    # A rollout without a reward needs no norm.
    actual = ScoreWeighted().estimate(["a"], [[1.0, 1.0, np.nan]], 1, score_norm=[[1.0, 1.0, np.nan]])
    np.testing.assert_array_equal(actual, [[1.0, 1.0, 1.0]])


# --- one baseline against another ---------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 3])
def test_the_difference_of_two_baselines_is_the_exact_one(group, rng):
    trace, every, _ = bandit_trace(rng, group, n_steps=600)
    found = compare_gradients(trace, "none", "oracle")
    exact = every.moments.baseline_part(-every.values[..., None]).mean()
    close(found.difference, exact)
    close(found.ratio, 1 + exact / every.moments.noise.mean())
    assert found.difference.n_rollouts == found.ratio.n_rollouts == len(trace)
    # The parts of each alone have the same difference; that of a pair is known better than its terms.
    alone = [gradient_variance(trace, name).baseline for name in ("none", "oracle")]
    assert found.difference.mean == pytest.approx(alone[0].mean - alone[1].mean)
    back = compare_gradients(trace, "oracle", "none")
    assert back.difference.mean == pytest.approx(-found.difference.mean)
    assert back.ratio.mean == pytest.approx(1 / found.ratio.mean)


def test_the_interval_of_a_difference_covers():
    inside, n_runs = 0, 60
    for seed in range(n_runs):
        trace, every, _ = bandit_trace(np.random.default_rng([seed, 5]), 1, n_steps=60)
        exact = every.moments.baseline_part(-every.values[..., None]).mean()
        found = compare_gradients(trace, "none", "oracle").difference
        # The prompts are all that there are, so the truth is that of their mean.
        inside += found.low <= exact <= found.high
    assert inside >= 0.95 * n_runs - 3 * np.sqrt(0.95 * 0.05 * n_runs)


def test_a_baseline_against_itself_differs_by_nothing(rng):
    trace, _, _ = bandit_trace(rng, 3, n_steps=20)
    for other in ("group-mean", "leave-one-out"):
        found = compare_gradients(trace, "leave-one-out", other)
        assert found.difference.mean == 0.0
        assert found.difference.standard_error < 1e-8
        assert found.ratio.mean == pytest.approx(1.0)


def test_lone_rollouts_of_a_group_mean_are_left_out(rng):
    rewards = np.array([[[1.0, NAN]], [[0.0, 1.0]]])
    trace = trace_of(np.array([[1], [2]]), rewards, score_norm=np.array([1.0, NAN, 2.0, 1.0]))
    found = compare_gradients(trace, "group-mean", "none")
    # Both leave-one-out advantages are 1 in size; those of none are 0 and 1.
    assert found.difference.n_rollouts == 2
    assert found.difference.mean == pytest.approx((4 + 1) / 2 - 1 / 2)
    assert found.ratio.mean == pytest.approx(5.0)
