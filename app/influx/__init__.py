"""InfluxDB made ready for the sink: organization, buckets, tasks and tokens; `app/sinks` writes.

Needs the extra `influx` (influxdb-client), which writing does not. Read the files in this order:
`setup` (what there must be, made where it is not), `downsampling` (the tasks' Flux), `client`
(the package, its errors as one line), `tokens` (tokens into files).
"""
