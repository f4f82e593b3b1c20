"""One spelling of each model's name: as its authors write it, whatever a table or a record says."""

import re

_SPELLINGS = {
    "AlexNet": ("alexnet",),
    "VGG-11": ("vgg11",),
    "GoogLeNet": ("googlenet",),
    "ResNet-18": ("resnet18", "Resnet-18"),
    "ResNet-34": ("resnet34", "Resnet-34"),
    "ResNet-50": ("resnet50", "Resnet-50"),
    "ResNeXt-50": ("resnext50_32x4d", "ResNext_50"),
    "Wide ResNet-50": ("wide_resnet50_2", "Wide_ResNet_50"),
    "DenseNet-121": ("densenet121", "DenseNet121"),
    "SqueezeNet 1.1": ("squeezenet1_1", "Squeezenet_v1_1", "SqueezeNet_v1_1"),
    "MobileNet v1": ("mobilenet_v1", "MobileNet_v1"),
    "MobileNet v2": ("mobilenet_v2", "MobileNet_v2"),
    "ShuffleNet v1": ("shufflenet_v1", "ShuffleNet_v1_1x", "ShuffleNet (1x)"),
    "ShuffleNet v1 0.5x": ("shufflenet_v1_x0_5",),
    "ShuffleNet v2": ("shufflenet_v2", "ShuffleNet_v2_1x", "ShuffleNet v2 (1x)"),
    "ShuffleNet v2 1.5x": ("shufflenet_v2_x1_5", "ShuffleNet_v2_1_5x"),
    "EfficientNet-b0": ("efficientnet_b0", "EfficientNet (b0)"),
    "EfficientNet-b1": ("efficientnet_b1", "EfficientNet (b1)"),
}
_BY_NAME = {name: spelling for spelling, names in _SPELLINGS.items() for name in names}
# Not within a longer name, such as the one of a network of the reader's own.
_NAMES = re.compile(
    r"(?<![\w.-])(" + "|".join(map(re.escape, sorted(_BY_NAME, key=len, reverse=True))) + r")(?!\w)"
)


def readable(text: str) -> str:
    """The text with each known model's name in its one spelling; other names stay as they are.

    `shufflenet_v2, small` gives `ShuffleNet v2, small`, and so does `ShuffleNet_v2_1x, small`.
    """
    # The published table calls version 1 by the family's name alone.
    if text == "MobileNet":
        return "MobileNet v1"
    return _NAMES.sub(lambda match: _BY_NAME[match[1]], text)
