"""What a world's monitoring is read for: samples of a scrape, and what is left when nothing ought to be."""

from __future__ import annotations

from simulation.monitored import left_of, samples_of

_TEXT = b"""# HELP vp_lanes partitions owned by this process
# TYPE vp_lanes gauge
vp_lanes{application="default",state="open"} 3.0
vp_lanes{application="default",state="refused"} 0.0
vp_lane_records{application="default",state="working"} 0.0
vp_lag_records{application="default",partition="0",topic="verification.requests"} 0.0
vp_budget_over_limit_total{application="default",scope="generic-write"} 0.0
vp_results_total{application="default",operation="aml",status="succeeded"} 7.0
vp_memory_limit_bytes 1e+09
process_cpu_seconds_total 4.5
"""


def test_samples_are_read_by_their_labels() -> None:
    found = samples_of(_TEXT)
    assert found["vp_results_total"][("application", "default"), ("operation", "aml"), ("status", "succeeded")] == 7
    assert found["vp_memory_limit_bytes"][()] == 1e9
    assert "process_cpu_seconds_total" not in found


def test_what_is_left_at_the_end_is_told() -> None:
    assert left_of(samples_of(_TEXT)) == []
    worse = _TEXT.replace(b'"refused"} 0.0', b'"refused"} 1.0').replace(b'"generic-write"} 0.0', b'"generic-write"} 2.0')
    assert left_of(samples_of(worse)) == [
        "vp_lanes{'application': 'default', 'state': 'refused'} is 1",
        "vp_budget_over_limit_total{'application': 'default', 'scope': 'generic-write'} is 2",
    ]
