"""What is timed of a rebalance: coroutine functions of classes and modules, and what they are."""

from __future__ import annotations

from typing import Final

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator

from app.streaming import restored_state, runner
from app.streaming.engine import Engine
from app.streaming.runner import PartitionRunner
from app.streaming.tables import StateRecovery
from app.streaming.transaction import TransactionalProducer
from app.streaming.transport import Consumer

STEPS: Final[tuple[tuple[object, str, str], ...]] = (
    (Engine, "on_revoked", "checkpoint at revoke"),
    (Engine, "stop", "stop"),
    (PartitionRunner, "restore", "restore"),
    (PartitionRunner, "close", "close"),
    (TransactionalProducer, "start", "restore: fence"),
    (runner, "topic_ids", "restore: topic ids"),
    (restored_state, "bounds", "restore: bounds"),
    (restored_state, "catch_up", "restore: read the changelog"),
    (restored_state, "read_ahead", "restore: read ahead"),
    (CoordinatorGroupRebalance, "perform_group_join", "join"),
    (GroupCoordinator, "ensure_active_group", "group protocol"),
    (GroupCoordinator, "_maybe_leave_group", "leave group"),
    (Consumer, "perform_seek", "seek"),
    (StateRecovery, "on_recovery_completed", "recovery completed"),
)
