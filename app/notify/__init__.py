"""Delivery of notifications: to Slack, by mail, to web hooks, PagerDuty and Opsgenie.

What comes in: `DEPLOYMENT.notifications`, made exactly once (`tables/alerts`). What is kept: for
each channel a consumer group of its own, `DEPLOYMENT.notify.CHANNEL`, and its offsets. What goes
out: each notification to each of its channels at least once, always with the same idempotency key;
what a channel refuses for good goes to `DEPLOYMENT.notifications.dead`, with the reason.

Read in this order: `settings.py` (the groups), `channel.py` (what a channel is), `webhooks.py`,
`email.py`, `log.py` (the channels), `deliverer.py` (attempts, waits, breaker), `consumer.py` (the
loop of one channel), `service.py` (all channels of a process, and `Delivery`, a worker's).

A worker with the agent `alerts` delivers, from its first assignment until behind its last
checkpoint; with `notify.in_worker` false, `candlewick alerts deliver` does.

A channel that is down holds back nothing but itself: its group stays where it is, the breaker
lets it rest, and memory holds one fetch at most.
"""
