import numpy as np
import optax

from jaxeff.train.optimizer import sgd


def test_sgd_takes_pytorchs_steps():
    """torch.optim.SGD's documented update, written out in NumPy."""
    rates, momentum, decay = [0.1, 0.1, 0.02], 0.9, 1e-2
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    gradients = [{k: rng.standard_normal(v.shape) for k, v in start.items()} for _ in rates]

    optimizer = sgd(lambda step: np.float32(rates)[step], momentum, decay)
    params = {k: v.astype(np.float32) for k, v in start.items()}
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)

    for key, p in start.items():
        buffer = None
        for rate, gradient in zip(rates, gradients, strict=True):
            g = gradient[key] + decay * p
            buffer = g if buffer is None else momentum * buffer + g
            p = p - rate * buffer
        np.testing.assert_allclose(params[key], p, rtol=1e-5)
