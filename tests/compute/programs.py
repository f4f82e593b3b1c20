"""Programs that the tests count, and the shapes of their arguments."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.relu(x)
        x = nn.Conv(16, (3, 3), padding="VALID")(x)
        x = nn.relu(x).mean((1, 2))
        return nn.Dense(10)(x)


# Multiply-accumulates of `Net` for four images [9, 9, 3], worked by hand.
NET_IMAGES = shape(4, 9, 9, 3)
CONV_0 = 4 * (5 * 5) * 9 * 3 * 8
CONV_1 = 4 * (3 * 3) * 9 * 8 * 16
DENSE = 4 * 16 * 10


def training_step(module, images, optimizer):
    """A step as training makes it, and the shapes of its arguments."""
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    state = jax.eval_shape(optimizer.init, variables["params"])

    def step(variables, state, images, labels):
        images = images / 255

        def loss(params):
            logits, updates = module.apply(
                {**variables, "params": params}, images, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updates

        gradients, updates = jax.grad(loss, has_aux=True)(variables["params"])
        changes, new = optimizer.update(gradients, state, variables["params"])
        params = optax.apply_updates(variables["params"], changes)
        return {**updates, "params": params}, new

    labels = shape(images.shape[0], dtype=jnp.int32)
    return step, (variables, state, images, labels)


def macs_by_phase(cost):
    return {phase: part.macs for phase, part in cost.by_phase().items()}
