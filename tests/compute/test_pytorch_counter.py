"""Multiply-accumulates of derivatives, as PyTorch's counter sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeff.compute import step_cost

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install jaxeff[bench]")
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

# Kernels [O, I, H, W] and strides of networks with `tanh` behind each convolution. None is grouped,
# since PyTorch's counter takes a grouped convolution's kernel gradient for more than it is, and all
# strides reach the last padded row, since PyTorch's second derivatives multiply further rows and
# throw the products away.
NETWORKS = {
    "one layer": (((8, 3, 3, 3), 1),),
    "strided": (((8, 3, 3, 3), 2), ((6, 8, 3, 3), 2)),
    "three layers": (((4, 3, 5, 5), 2), ((8, 4, 3, 3), 1), ((5, 8, 1, 1), 1)),
}
IMAGES = (2, 3, 9, 9)


def jax_loss(images, kernels, strides):
    for kernel, stride in zip(kernels, strides, strict=True):
        pad = kernel.shape[2] // 2
        images = jnp.tanh(
            lax.conv_general_dilated(images, kernel, (stride, stride), ((pad, pad),) * 2)
        )
    return images.sum()


def torch_loss(images, kernels, strides):
    for kernel, stride in zip(kernels, strides, strict=True):
        images = torch.tanh(F.conv2d(images, kernel, None, stride, kernel.shape[2] // 2))
    return images.sum()


def jax_kernel_gradients(loss):
    return jax.grad(loss, 1)


def torch_kernel_gradients(loss):
    return lambda images, kernels: torch.autograd.grad(loss(images, kernels), kernels)


def jax_gradient_penalty(loss):
    return jax.grad(lambda x, w: (jax.grad(loss)(x, w) ** 2).sum(), 1)


def torch_gradient_penalty(loss):
    def fn(images, kernels):
        (gradient,) = torch.autograd.grad(loss(images, kernels), images, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), kernels)

    return fn


def jax_penalty_of_both(loss):
    def penalty(images, kernels):
        of_images, of_kernels = jax.grad(loss, (0, 1))(images, kernels)
        return sum((gradient**2).sum() for gradient in (of_images, *of_kernels))

    return lambda images, kernels: jax.tree.leaves(jax.grad(penalty, (0, 1))(images, kernels))


def torch_penalty_of_both(loss):
    def fn(images, kernels):
        inputs = [images, *kernels]
        gradients = torch.autograd.grad(loss(images, kernels), inputs, create_graph=True)
        return torch.autograd.grad(sum((gradient**2).sum() for gradient in gradients), inputs)

    return fn


DERIVATIVES = {
    "kernel gradients": (jax_kernel_gradients, torch_kernel_gradients),
    "gradient penalty": (jax_gradient_penalty, torch_gradient_penalty),
    "penalty of both gradients": (jax_penalty_of_both, torch_penalty_of_both),
}


@pytest.mark.parametrize("derivative", DERIVATIVES)
@pytest.mark.parametrize("network", NETWORKS)
def test_pytorch_counts_the_same_macs(network, derivative):
    shapes, strides = zip(*NETWORKS[network], strict=True)
    generator = np.random.default_rng(0)
    images, *kernels = (
        generator.normal(size=shape).astype(np.float32) * 0.1 for shape in (IMAGES, *shapes)
    )
    of_jax, of_torch = DERIVATIVES[derivative]

    def loss(images, kernels):
        return jax_loss(images, kernels, strides)

    their_images = torch.tensor(images, requires_grad=derivative != "kernel gradients")
    their_kernels = [torch.tensor(kernel, requires_grad=True) for kernel in kernels]
    with FlopCounterMode(display=False) as counter:
        theirs = of_torch(lambda x, w: torch_loss(x, w, strides))(their_images, their_kernels)
    for ours, expected in zip(jax.jit(of_jax(loss))(images, kernels), theirs, strict=True):
        np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert step_cost(of_jax(loss), images, kernels).macs == counter.get_total_flops() / 2
