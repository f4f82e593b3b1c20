"""Records of version 1 (jaxeff 0.1): image classification, one cost a run."""

from jaxeff.records.record import Point, crossing

# What jaxeff 0.1 trained with, whatever the recipe: its records give the numbers alone.
_TRANSFORMS = ("crop_area", "crop_aspect", "horizontal_flip")


def upgrade(fields: dict) -> dict:
    """The fields of version 2 that say what a valid record of version 1 says.

    What version 1 did not note is None, or empty: the processor, its flags and the kernels. `model`
    keeps its name and number of parameters; the size of the images and the number of classes belong
    to the task now. The optimizer is the one that jaxeff 0.1 had.
    """
    model, recipe, cost = fields["model"], fields["recipe"], fields["compute"]
    target = fields["target"]
    curve = [_point(point) for point in fields["curve"]]
    points = tuple(Point(**point) for point in curve)
    stays_from_epoch = crossing(points, target["metric"], target["value"], "max").stays_from_epoch
    return {
        "schema_version": 2,
        "run_id": fields["run_id"],
        "created": fields["created"],
        "command": fields["command"],
        "model": {
            "name": model["name"],
            "args": None,
            "source": None,
            "published": None,
            "url": None,
            "params": model["params"],
        },
        "task": {
            "name": "image_classification",
            "metrics": {"loss": "min", "top1": "max", "top5": "max"},
            "image_size": model["image_size"],
            "num_classes": model["num_classes"],
            "evaluation_crop_fraction": recipe.get("evaluation_crop_fraction"),
        },
        "recipe": _recipe(recipe),
        "dataset": {**fields["dataset"], "skipped": fields.get("skipped_images")},
        "target": {**target, "stays_from_epoch": stays_from_epoch},
        "compute": {
            "segments": [
                {
                    "from_step": 0,
                    "flops_per_step": cost["flops_per_step"],
                    "macs_forward_per_example": cost["macs_forward_per_image"],
                    "batch_size": recipe["batch_size"],
                    "image_size": model["image_size"],
                }
            ],
            **{
                name: cost[name]
                for name in (
                    "convention",
                    "train_flops",
                    "teraflop_s_days",
                    "paper_flops",
                    "paper_teraflop_s_days",
                )
            },
        },
        "curve": curve,
        "hardware": fields["hardware"],
        "environment": {
            "cpu_model": None,
            "cpu_flags": [],
            "xla_flags": "",
            "kernels": "not recorded",
            "matmul_precision": None,
        },
        "timing": {
            "examples_per_second" if name == "images_per_second" else name: value
            for name, value in fields["timing"].items()
        },
        "software": fields["software"],
        "seed": fields["seed"],
        "status": fields["status"],
    }


def _recipe(recipe):
    moved = (*_TRANSFORMS, "evaluation_crop_fraction")
    kept = {name: value for name, value in recipe.items() if name not in moved}
    optimizer = {
        "chain": [
            {"add_decayed_weights": {"weight_decay": recipe.get("weight_decay")}},
            {"trace": {"decay": recipe.get("momentum")}},
            {"scale_by_learning_rate": {"schedule": recipe.get("schedule"), "lr": recipe["lr"]}},
        ]
    }
    transforms = {name: recipe[name] for name in _TRANSFORMS if name in recipe}
    return {
        **kept,
        "source": None,
        "optimizer": optimizer,
        "schedule": recipe.get("schedule"),
        "transforms": transforms,
        "ema": None,
    }


def _point(point):
    return {
        "step": point["step"],
        "epoch": point["epoch"],
        "examples": point["images"],
        "train_flops": point["train_flops"],
        "train_loss": point["train_loss"],
        "seconds": point["seconds"],
        "metrics": {
            "loss": point["validation_loss"],
            "top1": point["top1"],
            "top5": point["top5"],
        },
        "ema_metrics": None,
    }
