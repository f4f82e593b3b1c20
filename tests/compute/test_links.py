import pytest

from jaxeff.compute import device_links, device_memory
from jaxeff.compute.hardware import MEMORIES, PEAKS
from jaxeff.compute.links import LINKS, Links


def test_chips_on_a_switch_each_send_twice_their_share():
    links = Links(100.0, 8, None, "made up")
    assert links.all_reduce_seconds(1000.0, 1) == 0
    assert links.all_reduce_seconds(1000.0, 2) == pytest.approx(1000 / 100)
    assert links.all_reduce_seconds(1000.0, 8) == pytest.approx(2 * 7 / 8 * 1000 / 100)


def test_beyond_the_links_each_chip_sums_its_share_over_the_network():
    links = Links(100.0, 4, 5.0, "made up")
    inside = 2 * 3 / 4 * 1000 / 100
    assert links.all_reduce_seconds(1000.0, 8) == pytest.approx(inside + 2 / 2 * 250 / 5)
    assert Links(100.0, 4, None, "made up").all_reduce_seconds(1000.0, 8) is None


@pytest.mark.parametrize(
    ("device_kind", "chips", "published"),
    [("TPU v5e", 256, 51.2e12), ("TPU v6e", 256, 102.4e12), ("TPU v3", 1024, 340e12)],
)
def test_a_whole_pod_reduces_as_fast_as_its_maker_says(device_kind, chips, published):
    """cloud.google.com/tpu/docs: all-reduce bandwidth a pod, here what all chips send at once."""
    size = 1e9
    seconds = device_links(device_kind).all_reduce_seconds(size, chips)
    assert chips * 2 * (chips - 1) / chips * size / seconds == pytest.approx(published, rel=0.05)


def test_a_slice_without_rings_has_half_of_the_links():
    mesh, pod = (device_links("TPU v5e").all_reduce_seconds(1e9, n) for n in (64, 256))
    assert mesh == pytest.approx(2 * pod, rel=0.02)
    # 1 x 2 chips have one link of four, one way.
    assert device_links("TPU v5e").all_reduce_seconds(1e9, 2) == pytest.approx(1e9 / 50e9)


def test_what_is_published_has_a_source_and_belongs_to_a_device_with_a_peak():
    for kind, (size, rate, source) in MEMORIES.items():
        assert source, kind
        assert 1e9 < size < 1e12, kind
        assert 1e11 < rate < 1e13, kind
    assert set(PEAKS) <= set(MEMORIES)
    assert all(links.source for links in LINKS.values())
    assert set(LINKS) <= set(PEAKS)


def test_the_longer_name_decides_as_for_peaks():
    assert device_memory("NVIDIA A100-SXM4-80GB")[1] == 2039e9
    assert device_memory("NVIDIA A100-SXM4-40GB")[1] == 1555e9
    assert device_memory("NVIDIA A100-SXM4-40GB MIG 1g.5gb") is None
    assert device_memory("cpu") is None
    assert device_links("NVIDIA L4") is None
