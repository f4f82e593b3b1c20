"""Valid records with curves of one's choice."""

import dataclasses

from jaxeff import compute, records

FLOPS_PER_IMAGE, BATCH_SIZE = 600, 10

SOFTWARE = records.Software(
    python="3.11.7",
    jax="0.10.2",
    jaxlib="0.10.2",
    flax="0.12.8",
    optax="0.2.8",
    jaxeff="0.3.0",
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_dirty=False,
)


# 10 steps of 10 images at 8 px, then batches of 20 at 10 px.
GROWING = (
    compute.Segment(0, 6000, 95, 10, {"image_size": 8}),
    compute.Segment(10, 18_000, 150, 20, {"image_size": 10}),
)


def run(
    model="alexnet",
    top1=(0.4, 0.6),
    *,
    macs=95,
    scale=1,
    segments=None,
    seed=0,
    lr=0.1,
    level=0.5,
    **changes,
) -> records.Record:
    """A record that evaluates every 10 steps to `top1`.

    An image costs `scale` x 600 FLOPs and `macs` multiply-accumulates, unless there are `segments`.
    """
    if segments is None:
        flops_per_step = round(FLOPS_PER_IMAGE * scale * BATCH_SIZE)
        segments = (compute.Segment(0, flops_per_step, macs, BATCH_SIZE, {"image_size": 8}),)
    schedule = compute.CostSchedule(segments)
    metrics = [{"loss": 1.6, "top1": accuracy, "top5": 1.0} for accuracy in top1]
    curve = _curve(schedule, metrics)
    target = records.crossing(curve, "top1", level, "max")
    record = records.Record(
        run_id=f"{model}-{seed}-{lr}-{scale}-{top1[0]}",
        created="2026-01-02T03:04:05+00:00",
        command=f"python launch/train.py --model={model}",
        model=records.Model(name=model, params=12),
        task={
            "name": "image_classification",
            "metrics": {"loss": "min", "top1": "max", "top5": "max"},
            "image_size": 8,
            "num_classes": 10,
        },
        recipe={
            "name": "small",
            "source": None,
            "epochs": curve[-1].epoch,
            "batch_size": BATCH_SIZE,
            "lr": lr,
            "optimizer": {"chain": [{"trace": {"decay": 0.9}}]},
            "schedule": "cosine",
            "transforms": {},
            "ema": None,
        },
        dataset=records.Dataset(
            name="d", train_examples=100, validation_examples=50, fingerprint="f"
        ),
        target=target,
        compute=_charge(schedule, target.step or curve[-1].step),
        curve=curve,
        hardware=records.Hardware(
            platform="cpu",
            device_kind="cpu",
            device_count=1,
            process_count=1,
            peak_flops_per_second=None,
        ),
        environment=records.Environment(
            cpu_model="a processor",
            cpu_flags=("avx2", "fma"),
            xla_flags="",
            kernels="xla",
            matmul_precision=None,
        ),
        timing=_timing(curve),
        software=SOFTWARE,
        seed=seed,
        status="reached" if target.reached else "completed",
    )
    return dataclasses.replace(record, **changes)


def regression(loss=(0.5, 0.1), *, level=0.2, **changes) -> records.Record:
    """A record of another task, without images, whose loss is to fall to `level`."""
    schedule = compute.CostSchedule((compute.Segment(0, 6000, 95, BATCH_SIZE),))
    curve = _curve(schedule, [{"loss": value} for value in loss])
    target = records.crossing(curve, "loss", level, "min")
    record = run(
        "mlp",
        task={"name": "regression", "metrics": {"loss": "min"}},
        dataset=records.Dataset("sine", 100, 50, "sine"),
        curve=curve,
        target=target,
        compute=_charge(schedule, target.step or curve[-1].step),
        timing=_timing(curve),
        status="reached" if target.reached else "completed",
    )
    return dataclasses.replace(record, **changes)


def _timing(curve):
    last = curve[-1]
    return records.Timing(1.0, last.seconds, 1.0, last.examples / last.seconds, None)


def _curve(schedule, metrics):
    return tuple(
        records.Point(
            step=step,
            epoch=schedule.examples(step) / 100,
            examples=schedule.examples(step),
            train_flops=schedule.train_flops(step),
            train_loss=1.5,
            seconds=0.5 * step,
            metrics=found,
        )
        for step, found in zip(range(10, 10 * len(metrics) + 1, 10), metrics, strict=True)
    )


def _charge(schedule, steps):
    train_flops, paper_flops = schedule.train_flops(steps), schedule.paper_flops(steps)
    return records.Compute(
        segments=schedule.segments,
        convention="as counted",
        train_flops=train_flops,
        teraflop_s_days=compute.teraflop_s_days(train_flops),
        paper_flops=paper_flops,
        paper_teraflop_s_days=compute.teraflop_s_days(paper_flops),
    )


def averaged(top1, average, level) -> records.Record:
    """A record whose target is of an average of the parameters."""
    record = run(top1=top1, level=level)
    curve = tuple(
        dataclasses.replace(point, ema_metrics={"loss": 1.6, "top1": accuracy, "top5": 1.0})
        for point, accuracy in zip(record.curve, average, strict=True)
    )
    target = records.crossing(curve, "ema_top1", level, "max")
    return dataclasses.replace(
        record,
        recipe={**record.recipe, "ema": {"decay": 0.9, "warmup": True}},
        target=target,
        curve=curve,
        compute=_charge(record.compute.schedule, target.step or curve[-1].step),
    )
