"""The feature store: which feature sets there are, their rows in the past and now, who uses them.

Data that flows, beside the models':

    declared FeatureSets -> FeatureRegistry (versions, aliases, audit) -> which version is served
    bars of the archive, times asked for -> historical_features -> rows as they were known then
    indicators, live -> a reader of the tables -> OnlineSource -> the newest rows, and their age
    every look-up -> Usage (counts by version and caller) -> totals in the store

The words are Feast's where it has them: a feature set is its feature view, what is asked for are
entities (a symbol at a time), rows of the past come from a point-in-time join.

Invariants:

- *Registered once*: a name and version stand for one hash; nothing of a record is ever overwritten;
- *Point in time*: a row of time t is made of bars that ended at or before t, and, where the archive
  says when each revision came, of no revision that came later;
- *Past = online*: the row of time t is the one that was served at t, bit for bit as float32, where
  that is said, and where no bar was revised otherwise;
- *Served as registered*: code that makes other features than the registered ones serves none.

| file | what it knows |
|---|---|
| `records.py` | what is registered of a feature set; how two differ |
| `registry.py` | versions, the alias `active`, retirement, audit |
| `catalogue.py` | search; lineage to indicators and to the models trained on a set |
| `historical.py` | rows of the past |
| `online.py` | the newest rows, and how fresh they are |
| `serving.py` | the version that the alias names, looked up and counted |
| `usage.py` | counts of look-ups, merged over processes |
| `ranking.py` | which features foretell the target, and whether that could be chance |
"""
