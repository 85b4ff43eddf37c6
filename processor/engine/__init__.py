"""A record becomes outputs: decode, wait for a permit, call, judge the answer. ``engine`` leads; ``outputs`` is pure."""
