"""Positions, profit and loss, exposure and limits of accounts, priced at points of event time.

Data that flows: transactions and portfolio updates -> `arriving.TransactionsPartition`, and closed
bars -> `routing.PriceRouter`, in every partition -> the stage's topic, partitioned by account: with
these records closing prices, and progress marks, by which the sender of an input partition promises
that all its records with an event time below the mark have come (app/contracts/portfolio.py). There
`stage.AccountsPartition` -> `intake.decode_staged` -> `PortfolioPartition.take` judges and holds ->
the watermark (the lowest mark of those that are waited for) releases in order -> `PortfolioBook`
applies, values and compares with limits -> `outputs` (`PositionRecord`, `PortfolioRecord`,
`LimitRecord`, `Refused`) and `changed_rows`.

Order: by (time, kind, event time, name, id). At one time prices come first, then the valuation
that is due, then updates, transactions, cancels. A valuation at T, a multiple of the pricing
interval, so holds what happened before T, at the close of the last bar that ended at or before T.
A published valuation stands: what comes late changes the ones after it.

Late: a record behind the mark of its own input partition is taken as a correction, at that mark
(its event time is then only compared with splits); beyond `late_horizon` it goes to `late`. A price
is taken where it is of a later bar, or a later revision of the same, than the symbol's last.

Duplicates: by (account, id), remembered for `identifier_horizon` of event time. The first that
arrives counts.

Silence, decided by the log alone (append times, clock records), so that a replay decides alike:

- An input partition that says `idle` is not waited for; when all are, everything held is taken.
- What waits for a silent input partition, one that has never spoken included, does so for
  `patience`, from its last mark or from when something began to wait, whichever is later. Then it
  is given up until its next mark. A log that was silent itself for longer says nothing of them.
- While an input is `historical` (a replay), one that has spoken is not given up: it will again.
- Where none is waited for any more, what is before the latest mark, or clock record, is taken.
- A clock record is asked for (`clock_due`) when it would let something go on, and never while an
  input is historical. So after the last record of all, everything is taken and the last valuation
  made; and where there is no transaction at all, prices are not held.
- Where `max_held` records wait, the slowest input partition is given up.

What comes behind that afterwards is taken at the watermark.

Invariants, held by tests/unit/test_portfolio*.py:

- *Any order of arrival* between the inputs that keeps each input partition's own order gives the
  same outputs in the same order. It asks that records carry their input `partition` where they
  can be late, that no bound is hit, and that no input speaks again after it was idle or given up.
- *Snapshot*: `from_rows` of all rows ever returned (the last of each name) goes on as the original.
- *Exact*: all arithmetic is on integers (money.py); after every record
  cash + cost = contributions + realised + income - fees, with no difference at all.
- *Bounded*: accounts, symbols, positions, lots, ids and held records each have a limit in
  `PortfolioConfiguration`, which says what happens beyond it.

Not done: currencies other than the deployment's (dead: `other_currency`); refusing a transaction
(it has happened; a limit reports it); revising published valuations; prices of before a split for
accounts that did not hold the symbol at the split, until the next bar.
"""
