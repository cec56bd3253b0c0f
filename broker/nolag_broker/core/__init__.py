"""The room: one ordered log and the state folded from it. Pure: no I/O, no clock, no randomness of its own.

`room` is where all of it meets: a command of `commands` is decided by the part that answers for it, an event is folded by it.
Parts of one file (`blackboard`, `members`, `tools`, `records`) lie beside those of several (`tasks`, `messages`, `streams`,
`approvals`). What they share: `event`, `entity`, `turn`, `timers`, `limits`.
"""
