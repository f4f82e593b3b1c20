"""What our own models cost, kept in a file so that a report need not count them again.

`model_costs.csv` is the output of the command in `COMMAND`; a slow test compares the two.
"""

import csv
import dataclasses
import functools
import pathlib

COMMAND = (
    "python launch/count.py --models=alexnet,vgg11,googlenet,resnet18,resnet34,resnet50,"
    "resnext50_32x4d,wide_resnet50_2,densenet121,squeezenet1_1,mobilenet_v1,mobilenet_v2,"
    "shufflenet_v1,shufflenet_v2,shufflenet_v2_x1_5,efficientnet_b0,efficientnet_b1,"
    "shufflenet_v1_x0_5 --format=csv"
)


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """One model at 224 px.

    Attributes:
      params: number of parameters.
      macs_forward_per_image: multiply-accumulates of a forward pass, padding included.
      xla_train_flops_per_image: XLA's count of a training step of 256 images, for each image.
    """

    params: int
    macs_forward_per_image: int
    xla_train_flops_per_image: float


@functools.cache
def model_costs() -> dict[str, ModelCost]:
    """Cost of each model that the file holds, by its name in `models`."""
    path = pathlib.Path(__file__).with_name("model_costs.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["model"]: ModelCost(
                int(row["params"]),
                int(row["macs_forward_per_image"]),
                float(row["xla_train_flops_per_image"]),
            )
            for row in csv.DictReader(file)
        }
