"""The PyTorch implementations that the paper trained, under our names.

torchvision's models as they are; ShuffleNet v1 and MobileNet v1 in files of their own, with the
layers and names of jaxony/ShuffleNet and marvis/pytorch-mobilenet. Needs torch and torchvision.
"""

import torch

from . import mobilenet_v1, shufflenet_v1

try:
    import torchvision
except RuntimeError:
    # torchvision's CPU wheels do not load their operators beside another build of torch. Two of
    # them must be known by name before the import, and none of the classifiers uses them.
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

# Ours: torchvision's, where the names differ.
TORCHVISION_NAMES = {"shufflenet_v2": "shufflenet_v2_x1_0"}
# Arguments without which a constructor does not build what the paper trained, or warns.
ARGUMENTS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
}


def create(name: str, num_classes: int, **fields) -> torch.nn.Module:
    """The PyTorch module of architecture `name`, freshly drawn.

    Args:
      name: ours.
      num_classes: length of the logits.
      **fields: of torchvision's constructor.

    Raises:
      KeyError: there is none.
    """
    for family in (mobilenet_v1, shufflenet_v1):
        if name in family.VARIANTS:
            return family.create(name, num_classes)
    torchvision_name = TORCHVISION_NAMES.get(name, name)
    if torchvision_name not in torchvision.models.list_models(torchvision.models):
        raise KeyError(f"{name} has no implementation in PyTorch")
    constructor = getattr(torchvision.models, torchvision_name)
    return constructor(num_classes=num_classes, **{**ARGUMENTS.get(name, {}), **fields})
