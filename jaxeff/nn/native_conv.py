"""Convolution as XLA has it."""

import jax

Pair = tuple[int, int]


def native_conv(
    images: jax.Array, kernel: jax.Array, *, strides: Pair, padding: Pair, groups: int
) -> jax.Array:
    """What `jaxeff.nn.conv2d` computes, in XLA's own form."""
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides=strides,
        padding=[(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
