import itertools

import pytest

from jaxeff.data import Shard, StreamOptions
from jaxeff.errors import UsageError


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "--batch_size=0"),
        ({"num_workers": -1}, "--num_workers=-1"),
        ({"seed": -1}, "seed -1"),
        ({"start_example": -1}, "start example -1"),
        ({"prefetch": 0}, "prefetch of 0"),
        ({"on_bad_image": "ignore"}, "--on_bad_image=ignore: give stop or skip"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(UsageError) as raised:
        StreamOptions(**({"batch_size": 8} | options))
    assert says in str(raised.value)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_process_that_is_none_of_them_is_refused(shard):
    with pytest.raises(UsageError, match=f"process {shard[0]} of {shard[1]}"):
        Shard(*shard)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shards_are_equal_parts_of_each_batch_in_the_order_of_the_processes(count):
    shards, local = [Shard(index, count) for index in range(count)], 12 // count
    for batch in range(3):
        rows = range(batch * local, (batch + 1) * local)
        parts = [[shard.position(row, 12) for row in rows] for shard in shards]
        assert list(itertools.chain(*parts)) == list(range(12 * batch, 12 * (batch + 1)))


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does():
    with pytest.raises(UsageError, match="multiple, such as 8"):
        Shard(0, 4).local_batch_size(6)
