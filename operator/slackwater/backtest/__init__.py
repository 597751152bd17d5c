"""What off-peak starts gain: recorded load replayed under one policy after another.

A trace of a GPU cluster gives the foreground: jobs as they were submitted, or the load as it was
measured. Daily training DAGs come on top, and a policy says when each of their runs is submitted.
Everything here is a function of data and seeds; minutes are integers from the trace's beginning,
a Monday 00:00.
"""
