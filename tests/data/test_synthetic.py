import numpy as np

from jaxeff.data import synthetic


def test_the_images_are_the_same_everywhere():
    assert (
        synthetic.load().fingerprint
        == "5f766ce0e0ce65e6e3aa685345aac341f0bd3d55518c8ed99bc99b1586642230"
    )


def test_classes_are_balanced_and_no_two_images_are_alike():
    dataset = synthetic.load()
    assert np.bincount(dataset.train.labels).tolist() == [50] * 10
    assert len(dataset.validation) == 101
    images = {
        image.tobytes() for split in (dataset.train, dataset.validation) for image in split.images
    }
    assert len(images) == 601


def test_the_label_can_be_read_from_the_image():
    """Colour and direction, recovered by a Fourier transform that knows nothing of the maker."""
    validation = synthetic.load().validation
    frequency = np.fft.fftfreq(synthetic.SIZE)
    down, across = np.meshgrid(frequency, frequency, indexing="ij")
    not_constant = np.hypot(down, across) > 0.04
    for image, label in zip(validation.images, validation.labels, strict=True):
        red, _, blue = image.mean((0, 1))
        colour = 0 if red > blue else 1
        power = np.abs(np.fft.fft2(image.mean(-1))) * not_constant
        peak = np.unravel_index(power.argmax(), power.shape)
        degrees = np.degrees(np.arctan2(down[peak], across[peak])) % 180
        direction = round(degrees / 36) % 5
        assert direction * 2 + colour == label
