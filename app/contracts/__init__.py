"""What the topics carry: pydantic contracts, their msgspec twins, and the batch of a fetch.

Pure data: nothing here imports Kafka or Faust, so `tables` and `models` may use it.
"""
