"""Valid records with curves of one's choice."""

FLOPS_PER_IMAGE, BATCH_SIZE = 600.0, 10

SOFTWARE = {
    "python": "3.11.7",
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "flax": "0.12.8",
    "optax": "0.2.8",
    "jaxeff": "0.1.0",
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": False,
}


def run(
    model="alexnet", top1=(0.4, 0.6), *, macs=95, scale=1, seed=0, lr=0.1, level=0.5, **changes
):
    """A record that evaluates every 10 steps to `top1`; an image costs `scale` x 600 FLOPs."""
    each = FLOPS_PER_IMAGE * scale
    curve = [
        {
            "step": step,
            "epoch": step / 10,
            "images": step * BATCH_SIZE,
            "train_flops": step * BATCH_SIZE * each,
            "train_loss": 1.5,
            "top1": accuracy,
            "top5": 1.0,
            "validation_loss": 1.6,
            "seconds": 0.5 * step,
        }
        for step, accuracy in zip(range(10, 10 * len(top1) + 1, 10), top1, strict=True)
    ]
    met = next((point for point in curve if point["top1"] >= level), None)
    charged = met or curve[-1]
    paper = 3 * macs * charged["images"]
    record = {
        "schema_version": 1,
        "run_id": f"{model}-{seed}-{lr}-{scale}-{top1[0]}",
        "created": "2026-01-02T03:04:05+00:00",
        "command": f"python launch/train.py --model={model}",
        "model": {"name": model, "params": 12, "image_size": 8, "num_classes": 10},
        "recipe": {"name": "small", "epochs": len(top1), "batch_size": BATCH_SIZE, "lr": lr},
        "dataset": {
            "name": "d",
            "train_examples": 100,
            "validation_examples": 50,
            "fingerprint": "f",
        },
        "target": {
            "metric": "top1",
            "value": level,
            "reached": met is not None,
            "step": met and met["step"],
            "epoch": met and met["epoch"],
        },
        "compute": {
            "flops_per_step": round(each * BATCH_SIZE),
            "flops_per_image": each,
            "macs_forward_per_image": macs,
            "convention": "as counted",
            "train_flops": charged["train_flops"],
            "teraflop_s_days": charged["train_flops"] / 8.64e16,
            "paper_flops": paper,
            "paper_teraflop_s_days": paper / 8.64e16,
        },
        "curve": curve,
        "hardware": {
            "platform": "cpu",
            "device_kind": "cpu",
            "device_count": 1,
            "process_count": 1,
            "peak_flops_per_second": None,
        },
        "timing": {
            "compile_seconds": 1.0,
            "train_seconds": 10.0,
            "eval_seconds": 1.0,
            "images_per_second": 20.0,
            "model_flops_utilization": None,
        },
        "software": dict(SOFTWARE),
        "seed": seed,
        "status": "reached" if met else "completed",
    }
    return record | changes
