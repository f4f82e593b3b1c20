"""tf.data with `decode_and_crop_jpeg`, as TensorFlow's ResNet examples read ImageNet."""


class Step:
    """Takes training batches of a folder of images.

    Args:
      work: the fields of `contenders.InputWork`.
    """

    def __init__(self, work: dict):
        import os
        import pathlib

        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            import tensorflow as tf
        except ImportError as error:
            raise ImportError(
                "tfdata needs TensorFlow, whose dependencies may differ from jaxeff's: pip install "
                "tensorflow-cpu in an environment of its own, and jaxeff beside it"
            ) from error

        self._version = tf.__version__
        tf.config.threading.set_inter_op_parallelism_threads(work["cores"])
        tf.config.threading.set_intra_op_parallelism_threads(1)
        size = work["image_size"]

        def image(path):
            content = tf.io.read_file(path)
            begin, extent, _ = tf.image.sample_distorted_bounding_box(
                tf.image.extract_jpeg_shape(content),
                bounding_boxes=tf.constant([0.0, 0.0, 1.0, 1.0], shape=[1, 1, 4]),
                min_object_covered=0.0,
                aspect_ratio_range=[3 / 4, 4 / 3],
                area_range=[0.08, 1.0],
                max_attempts=10,
                use_image_if_no_bounding_boxes=True,
            )
            window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
            pixels = tf.image.decode_and_crop_jpeg(content, window, channels=3)
            pixels = tf.image.resize(pixels, [size, size])
            return tf.cast(tf.image.random_flip_left_right(pixels), tf.uint8)

        paths = sorted(map(str, (pathlib.Path(work["data_dir"]) / "train").glob("*/*")))
        batches = tf.data.Dataset.from_tensor_slices(paths).repeat()
        batches = batches.map(image, num_parallel_calls=work["cores"])
        batches = batches.batch(work["batch_size"]).prefetch(2)
        options = tf.data.Options()
        options.threading.private_threadpool_size = work["cores"]
        self._batches = iter(batches.with_options(options))

    def take(self, steps: int) -> None:
        """Takes `steps` batches."""
        for _ in range(steps):
            next(self._batches).numpy()

    def facts(self) -> dict:
        """TensorFlow's version."""
        return {"software": f"tensorflow {self._version}"}

    def peak_memory_bytes(self) -> None:
        """As the process has it."""
