"""Mutants: the product with one fault planted, each of which breaks a promise of docs/guarantees.md. `make mutants` runs them.

Own, and not mutmut or cosmic-ray: those change operators, constants and calls wherever they stand. Of ours that is thousands of
mutants, most of them in texts, bounds and metrics, and each costs seconds of tests. What breaks a promise is seldom of that kind: a
rule that is left out, two steps in the other order, a value of before that is not kept. cosmic-ray takes operators of one's own, but
one for each such fault would be longer than the fault. So here are few, chosen ones; each names its promise, and none may live.
"""
