"""Names a deployment goes by: consumer group, transactional ids, folders; all from its settings.

The separator between deployment and agents is a dot, which neither a deployment's nor an agent's
name may contain: so the deployments `a` and `a-bars` never share a group, a transactional id
or a folder.
"""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings


def deployment_name(settings: Settings) -> str:
    """Return the cluster's prefix and the deployment: what all names below begin with."""
    return f"{settings.topic_prefix}{settings.deployment}"


def group_id(settings: Settings) -> str:
    """Return the Faust app id of a stage, which is its consumer group: `default.bars`."""
    return f"{deployment_name(settings)}.{'-'.join(settings.agents)}"


def transactional_id(settings: Settings, agent: str, partition: int) -> str:
    """Return the id that fences the previous owner of an agent's partition.

    It names the agent, not the stage, so that splitting a deployment into stages moves no state.
    """
    return f"{deployment_name(settings)}.{agent}.{partition}"


def deployment_folder(settings: Settings) -> Path:
    """Return the folder of all local state of a deployment, beside those of other deployments."""
    return settings.data_dir / "state" / deployment_name(settings)


def worker_folder(settings: Settings) -> Path:
    """Return the folder of one worker of a deployment; no two running workers may share it."""
    return deployment_folder(settings) / settings.worker
