"""What Slackwater thinks: pure functions of data and `now`.

Read top to bottom as a night's story: a `span` of time; a `schedule` or a calendar's `event`
gives an interval; `match` says which entry it belongs to; `occurrence` and `window` say when a
run may start; a `sample` says what the pool holds; an `ask` competes in `allot`; `decide` puts
it together into actions, a status and the next wake-up; `words` says it in one sentence.

Nothing here awaits, logs, reads a clock or imports anything of ours outside this package.
"""
