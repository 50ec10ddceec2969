"""Backup and restore of what Kafka does not hold: registries, archive, settings; and positions.

Read the files in this order: `contents` (pure: what a backup is, in which order files are copied
and put back, what does not fit together), `places` (a folder, an address or a tar file as the
other side), `taking` and `restoring` (the two ways), `documents` (settings and positions as JSON).

Data that flows:

    registry of models, feature store, archive -> files of PLACE, each with size and SHA-256
    settings (secrets masked), positions of groups and topics -> settings.json, positions.json
    PLACE/backup.json, last -> restore: all files verified -> targets looked at -> files created

Invariants:

- What has no `backup.json` is no backup: it is written when all else is there.
- A backup is consistent while writers go on: aliases are read before the versions they name, and
  the archive's manifests before the files that these name; where something vanished in between, the
  section is read again.
- A restore changes nothing before every byte of the backup is verified and every target is known
  to hold nothing but files of the same content. Nothing is ever overwritten or deleted, so one that
  was interrupted can be repeated; what it has not finished, nobody sees.
- State stores are no part of it: they are rebuilt from their changelogs, which Kafka keeps.
"""
