"""A broker, its clients and their faults in one thread, on a clock that skips the waiting: a seed is a whole day's bad luck in a moment.

The broker's own server is what runs (node, sessions, fan-out, writers, and the room itself); simulated are what it stands on: the
event loop's clock, the disk, the network, and the processes that use it. Same seed, same run.

    clock      an event loop whose time jumps to the next timer: time skipping, for any asyncio code
    disk       what is synced survives a crash, what is not is lost
    network    connections that are late, break, and half-break; in order as long as they hold
    host       one life of the broker process after the other, on one disk
    client     a process: it reconnects and sends again, as the protocol says
    roles      what the processes want: tasks, keys, messages, approvals, the log
    faults     what goes wrong, and how often
    world      all of it from one seed; the checks after every commit and at the end
    seeds      many of them, on several processes

`python -m langgraph_nolag.testing.simulation --from 0 --seeds 100` runs some.
"""
