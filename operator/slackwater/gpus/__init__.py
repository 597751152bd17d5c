"""How many GPUs a pool has, how many are free, and how old that knowledge is (R5).

A sample is one look: one PromQL query that names no recording rule, answered by the server as of
its own present, read strictly. What is missing, not a number, partial or ambiguous raises a
`PoolError` and so blocks; nothing is ever taken for zero because it is not there.
"""
