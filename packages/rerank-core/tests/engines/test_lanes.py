from hypothesis import given
from hypothesis import strategies as st
from rerank_core.engines.lanes import balanced


@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=60), lanes=st.integers(1, 8))
def test_every_position_is_dealt_once_and_no_lane_is_empty_or_overfull(sizes, lanes):
    dealt = balanced(sizes, lanes)

    assert sorted(position for lane in dealt for position in lane) == list(range(len(sizes)))
    assert len(dealt) == min(lanes, len(sizes))
    assert all(dealt)
    loads = [sum(sizes[position] for position in lane) for lane in dealt]
    assert max(loads) <= sum(sizes) / len(dealt) + max(sizes)
