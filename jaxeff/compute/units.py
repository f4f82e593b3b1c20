"""Converts training compute between units, and counts it as the paper does."""

TERAFLOP_S_DAY = 8.64e16
"""Operations in a teraflop/s-day: 1e12 operations a second for 86 400 seconds.

Source: Amodei and Hernandez, *AI and Compute* (2018); the unit of Hernandez and Brown,
arXiv 2005.04305.
"""

IMAGENET_EPOCH_IMAGES = 1_280_000
"""Images in an ImageNet epoch as arXiv 2005.04305 counts it (the training set has 1 281 167)."""


def teraflop_s_days(flops: float) -> float:
    """Converts a number of operations to teraflop/s-days.

    Args:
      flops: operations, in whichever convention they are counted.

    Returns:
      `flops / 8.64e16`.
    """
    return flops / TERAFLOP_S_DAY


def paper_flops(macs_forward_per_image: float, images: float) -> float:
    """Counts training compute as the paper does: 3 × forward multiply-accumulates × images.

    The factor 3 is the forward pass and a backward pass of twice its cost. A multiply-accumulate is
    one operation here, so that this is about half of what hardware counts (FLOPs).

    Args:
      macs_forward_per_image: multiply-accumulates of one image's forward pass.
      images: number of images trained on, all epochs together.

    Returns:
      Operations. Divide by `TERAFLOP_S_DAY` for teraflop/s-days.

    Source: Hernandez and Brown, arXiv 2005.04305, section 3 and Table 3 (whose printed formula
    leaves out the 3 that its numbers contain).
    """
    return 3 * macs_forward_per_image * images
