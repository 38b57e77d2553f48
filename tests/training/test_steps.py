"""The training steps: over devices, by kind, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import HIGHEST, equations, product_precisions
from tiny_network import make_tiny, random_variables

from configs import base, synthetic
from cosnet_jax import parallel
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.training import steps
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import TrainState, init_state
from cosnet_jax.training.steps import make_steps, mean_gradients

BATCH = 8


def with_settings(config, **settings):
    """A copy of a configuration with other settings, by dotted key with "__" for the dot."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in settings.items()})
    return config


@pytest.fixture(scope="module")
def config():
    config = synthetic.get_config()
    make_tiny(config)
    config.optimizer.update({"name": "sgd", "learning_rate": 0.05, "warmup_steps": 0})
    return config


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, 2, 33, 40, 3)).astype(np.uint8)
    mask = (rng.random((BATCH, 2, 33, 40)) < rng.uniform(0.1, 0.6, (BATCH, 1, 1, 1))).astype(np.uint8)
    return {"still": {"image": image[:, 0], "mask": mask[:, 0]}, "video": {"image": image, "mask": mask}}


@pytest.fixture(scope="module")
def start(config):
    variables = random_variables(build_model(config.model))
    optimizer = make_optimizer(config.optimizer, variables["params"], total_steps=10)
    return optimizer, init_state(variables, optimizer)


@pytest.fixture(scope="module")
def single(config, start, batches):
    """Each step's result on one device."""
    optimizer, state = start
    steps = make_steps(build_model(config.model), optimizer, config)
    return {kind: jax.jit(steps[kind])(state, batches[kind]) for kind in ("still", "video")}


@pytest.mark.parametrize("kind", [pytest.param("still", marks=pytest.mark.slow), "video"])
def test_four_devices_take_the_step_of_one(config, start, batches, single, kind):
    assert jax.device_count() == 4
    optimizer, state = start
    steps = make_steps(build_model(config.model, parallel.AXIS), optimizer, config)
    step = parallel.parallelise(steps[kind])
    given = step(parallel.replicate(jax.tree.map(jnp.copy, state)), parallel.shard(batches[kind]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), given, single[kind])


def test_the_losses_of_the_configuration_are_added(config, start, batches):
    state = start[1]

    def losses(*settings):
        functions = [
            steps.paper_losses(build_model(config.model), with_settings(config, **changes))["still"]
            for changes in settings
        ]
        given = state.params, state.batch_stats, batches["still"]
        return jax.jit(lambda *given: [function(*given)[0] for function in functions])(*given)

    plain = {"loss__entropy": "plain"}
    entropy, balanced, one, two = losses(plain, {}, plain | {"loss__iou": 1.0}, plain | {"loss__iou": 2.0})
    assert entropy != balanced
    assert float(two - entropy) == pytest.approx(2 * float(one - entropy), rel=1e-4)


def test_a_still_step_trains_the_encoder_alone(start, single):
    before, (after, metrics) = start[1].params, single["still"]
    assert metrics["loss"] == metrics["side"] > 0
    for name in ("affinity", "gate", "head_a"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], before[name])
    assert (after.params["encoder"]["side"]["kernel"] != before["encoder"]["side"]["kernel"]).any()
    assert (after.params["encoder"]["body"]["stem"]["kernel"] != before["encoder"]["body"]["stem"]["kernel"]).any()


def test_a_video_step_trains_everything(start, single):
    before, (after, _) = start[1].params, single["video"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, before)
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, moved in jax.tree_util.tree_leaves_with_path(changed)
        if not moved
    }
    assert not names


def test_the_video_loss_is_the_sum_of_its_parts(config, single):
    metrics = single["video"][1]
    expected = metrics["coattention"] + config.loss.video_side * metrics["side"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_a_step_moves_the_running_statistics_and_counts(start, single):
    for state, _ in single.values():
        assert state.step == 1
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.batch_stats, start[1].batch_stats)
        assert all(jax.tree.leaves(moved["encoder"]))


@pytest.fixture(scope="module")
def frozen(config, start, batches):
    """The result of a video step with frozen batch normalisation, on one device."""
    optimizer, state = start
    step = make_steps(build_model(config.model), optimizer, with_settings(config, freeze_batch_norm=True))["video"]
    return jax.jit(step)(state, batches["video"])


@pytest.mark.slow
def test_frozen_batch_norm_leaves_the_statistics(start, frozen):
    jax.tree.map(np.testing.assert_array_equal, frozen[0].batch_stats, start[1].batch_stats)


def assert_trees_close(given, expected, **tolerances):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerances), given, expected)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_batch_where_batch_norm_is_frozen(config, start, batches, frozen):
    optimizer, state = start
    changed = with_settings(config, freeze_batch_norm=True, accumulate_steps=4)
    step = make_steps(build_model(config.model), optimizer, changed)["video"]
    # Another order of summation in float32.
    assert_trees_close(jax.jit(step)(state, batches["video"]), frozen, rtol=1e-5, atol=1e-6)


def test_parts_are_taken_one_after_the_other():
    """A loss that shows what it is given: `stats` counts the parts, the gradient is the mean of their inputs."""

    def loss_function(params, batch_stats, batch):
        loss = params * batch["image"].mean()
        return loss, ({"part": batch["image"].max()}, {"batch_stats": batch_stats * 2 + batch["image"][0]})

    state = TrainState(jnp.int32(0), jnp.float32(3.0), jnp.float32(1.0), (), {})
    batch = {"image": jnp.array([1.0, 2.0, 5.0, 8.0])}
    gradients, metrics, batch_stats = mean_gradients(loss_function, state, batch, 2)
    assert gradients == 4.0
    assert metrics["loss"] == 12.0
    assert batch_stats == (1.0 * 2 + 1) * 2 + 5
    assert metrics["part"] == (2 + 8) / 2
    with pytest.raises(InputError, match="accumulate_steps is 3; expected a divisor of a device's 4 examples"):
        mean_gradients(loss_function, state, batch, 3)


def test_batch_normalisation_over_a_single_image_is_refused(config, start):
    optimizer = start[0]

    def make(**settings):
        changed = with_settings(config, **settings)
        return make_steps(build_model(changed.model), optimizer, changed)

    released = {"recipe": "released", "model__coattention": "vanilla", "step_pattern": "video"}
    for settings in (
        {"batch_size": 1}, {"batch_size": 8, "accumulate_steps": 8}, {"batch_size": 1, **released},
        {"batch_size": 4, "accumulate_steps": 4, **released},
    ):  # fmt: skip
        parts = settings.get("accumulate_steps", 1)
        with pytest.raises(InputError, match=f"batch_size is {settings['batch_size']} and accumulate_steps {parts}: "):
            make(**settings)
        assert make(**settings, freeze_batch_norm=True)
    assert make(batch_size=1, step_pattern="video")  # a pair is two images
    assert make(batch_size=8, accumulate_steps=4)


def test_a_step_tells_whether_everything_is_finite_and_skips_what_is_not(config, single):
    assert single["video"][1]["finite"] == single["still"][1]["finite"] == 1
    variables = {"params": {"encoder": {"kernel": jnp.array([2.0, 3.0])}}, "batch_stats": {}}
    optimizer = make_optimizer(config.optimizer, variables["params"], total_steps=10)
    state = init_state(variables, optimizer)

    def metrics_of(patch, function):
        return stepped(patch, function, config)[1]

    def stepped(patch, function, config):
        """A step whose loss is a function of an image value, 1 on three of four devices and 0 on one."""

        def loss_function(params, batch_stats, batch):
            weight = sum(leaf.sum() for leaf in jax.tree.leaves(params))
            return function(batch["image"].mean(), weight), ({"part": batch["image"].mean()}, {})

        patch.setitem(steps.RECIPES, "paper", lambda *_: {"video": loss_function})
        model = build_model(config.model, parallel.AXIS)
        step = parallel.parallelise(make_steps(model, optimizer, config)["video"])
        batch = {"image": np.array([1, 0, 1, 1], np.float32), "mask": np.ones(4, np.uint8)}
        return step(parallel.replicate(jax.tree.map(jnp.copy, state)), parallel.shard(batch))

    with pytest.MonkeyPatch.context() as patch:
        assert metrics_of(patch, lambda x, weight: x * weight)["finite"] == 1
        metrics = metrics_of(patch, lambda x, weight: jnp.log(x) + weight)
        assert metrics["finite"] == 0 and not np.isfinite(metrics["loss"]) and np.isfinite(metrics["part"])
        metrics = metrics_of(patch, lambda x, weight: jnp.sqrt(x * weight**2))  # finite, with the gradient 0 / 0
        assert metrics["finite"] == 0 and np.isfinite(metrics["loss"])
        skipping = with_settings(config, nonfinite_steps="skip")
        after, metrics = stepped(patch, lambda x, weight: jnp.log(x) + weight, skipping)
        assert metrics["finite"] == 0 and after.step == state.step + 1
        jax.tree.map(np.testing.assert_array_equal, after.replace(step=state.step), state)
        after, metrics = stepped(patch, lambda x, weight: x * weight, skipping)
        plain, _ = stepped(patch, lambda x, weight: x * weight, config)
        assert metrics["finite"] == 1
        jax.tree.map(np.testing.assert_array_equal, after, plain)


@pytest.mark.parametrize(
    "coattention", ["symmetric", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vanilla", "channelwise"))]
)
def test_bfloat16_is_the_type_of_convolutions_and_of_nothing_that_needs_float32(config, batches, coattention):
    changed = with_settings(config, model__dtype="bfloat16", model__coattention=coattention)
    model = build_model(changed.model)
    variables = jax.eval_shape(lambda: init_variables(model, 0))
    optimizer = make_optimizer(changed.optimizer, variables["params"], 10)
    state = jax.eval_shape(lambda v: init_state(v, optimizer), variables)
    step = make_steps(model, optimizer, changed)["video"]
    jaxpr, (after, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batches["video"])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(after)} == {"int32", "float32"}  # the step's number is an int
    assert {leaf.dtype.name for leaf in jax.tree.leaves(metrics)} == {"float32"}
    found = {}
    for equation in equations(jaxpr.jaxpr):
        for variable in equation.invars:
            found.setdefault(equation.primitive.name, set()).add(variable.aval.dtype.name)
    # The softmax (exp), the losses (log1p) and batch normalisation (rsqrt).
    assert found["exp"] == found["log1p"] == found["rsqrt"] == {"float32"}
    assert "bfloat16" in found["conv_general_dilated"]
    assert "float32" not in found["conv_general_dilated"]


@pytest.mark.slow
def test_a_bfloat16_step_is_the_float32_one_up_to_rounding(config, start, batches, single):
    optimizer, state = start
    changed = with_settings(config, model__dtype="bfloat16")
    step = make_steps(build_model(changed.model), optimizer, changed)["video"]
    given, expected = jax.jit(step)(state, batches["video"]), single["video"]
    np.testing.assert_allclose(given[1]["loss"], expected[1]["loss"], rtol=2**-9)
    moved, wanted = (
        np.concatenate(
            [np.ravel(x - y) for x, y in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True)]
        )
        for after, _ in (given, expected)
    )
    # Every layer rounds to 8 bits, forward and backward; most of it cancels in the sums (0.3% was seen).
    assert np.linalg.norm(moved - wanted) <= 2**-6 * np.linalg.norm(wanted)


def test_float32_precision_reaches_every_product(config, start, batches):
    optimizer, state = start

    def precisions(setting):
        step = make_steps(build_model(config.model), optimizer, with_settings(config, matmul_precision=setting))[
            "video"
        ]
        found = product_precisions(jax.make_jaxpr(step)(state, batches["video"]).jaxpr)
        assert len(found) > 50
        return set(found)

    assert precisions("float32") == {HIGHEST}
    assert precisions("default") != {HIGHEST}  # that of P is exact in any case


def test_without_coattention_the_papers_groups_fit(config, batches):
    changed = with_settings(config, model__coattention="none", optimizer__groups=base.get_config().optimizer.groups)
    model = build_model(changed.model)
    variables = jax.eval_shape(lambda: init_variables(model, 0))
    optimizer = make_optimizer(changed.optimizer, variables["params"], 10)
    state = jax.eval_shape(lambda v: init_state(v, optimizer), variables)
    for kind, step in make_steps(model, optimizer, changed).items():
        after, metrics = jax.eval_shape(step, state, batches[kind])
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert set(metrics) == {"loss", "finite", "foreground", "side"} | (
            {"coattention"} if kind == "video" else set()
        )


@pytest.mark.slow
def test_a_step_that_computes_activations_again_is_the_plain_one(config, start, batches, single):
    optimizer, state = start
    changed = with_settings(config, model__remat=True)
    step = make_steps(build_model(changed.model), optimizer, changed)["video"]
    # The same sums, which XLA fuses in another way.
    assert_trees_close(jax.jit(step)(state, batches["video"]), single["video"], rtol=1e-5, atol=1e-6)
