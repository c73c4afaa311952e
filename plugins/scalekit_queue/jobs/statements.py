"""The tables of jobs and their statements, for SQLite and PostgreSQL; many rows are passed as one JSON array."""

from __future__ import annotations

from scalekit.contracts import JobState

COLUMNS = "id, name, state, attempt, published, started, ended, progress, note, result, error"
CREATE = (
    """
CREATE TABLE IF NOT EXISTS {table} (
  prefix TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  published DOUBLE PRECISION NOT NULL,
  started DOUBLE PRECISION,
  ended DOUBLE PRECISION,
  progress DOUBLE PRECISION NOT NULL,
  note TEXT NOT NULL,
  result TEXT,
  error TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (prefix, id, name)
)
""",
    "CREATE INDEX IF NOT EXISTS {table}_recent ON {table} (prefix, state, published)",
    "CREATE INDEX IF NOT EXISTS {table}_expires ON {table} (expires)",
    """
CREATE TABLE IF NOT EXISTS {table}_unique_keys (
  prefix TEXT NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  token TEXT NOT NULL,
  id TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (prefix, name, digest)
)
""",
    "CREATE INDEX IF NOT EXISTS {table}_unique_keys_expires ON {table}_unique_keys (expires)",
    """
CREATE TABLE IF NOT EXISTS {table}_groups (
  prefix TEXT NOT NULL,
  id TEXT NOT NULL,
  size INTEGER NOT NULL,
  headers TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (prefix, id)
)
""",
    """
CREATE TABLE IF NOT EXISTS {table}_group_ends (
  prefix TEXT NOT NULL,
  id TEXT NOT NULL,
  member TEXT NOT NULL,
  state TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (prefix, id, member)
)
""",
    "CREATE INDEX IF NOT EXISTS {table}_group_ends_expires ON {table}_group_ends (expires)",
    """
CREATE TABLE IF NOT EXISTS {table}_task_results (
  prefix TEXT NOT NULL,
  id TEXT NOT NULL,
  call TEXT NOT NULL,
  attempts TEXT NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (prefix, id)
)
""",
    "CREATE INDEX IF NOT EXISTS {table}_task_results_expires ON {table}_task_results (expires)",
)
RELATIONS = (
    "{table}",
    "{table}_recent",
    "{table}_expires",
    "{table}_unique_keys",
    "{table}_unique_keys_expires",
    "{table}_groups",
    "{table}_group_ends",
    "{table}_group_ends_expires",
    "{table}_task_results",
    "{table}_task_results_expires",
)
TYPES = {
    "id": "text",
    "name": "text",
    "state": "text",
    "attempt": "integer",
    "published": "float8",
    "started": "float8",
    "ended": "float8",
    "progress": "float8",
    "note": "text",
    "result": "text",
    "error": "text",
    "expires": "float8",
}
SOURCES = {
    "sqlite": "(SELECT {} FROM json_each(:rows)) AS change".format(
        ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in TYPES)
    ),
    "postgresql": "json_to_recordset(CAST(:rows AS json)) AS change ({})".format(
        ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    ),
}
# A cancelled job starts no more, and one that is being cancelled can only end. A queued row replaces one that has
# failed, was cancelled or has expired: its message was published again with the same key.
UPSERT = f"""
INSERT INTO {{table}} AS job (prefix, {", ".join(TYPES)})
SELECT CAST(:prefix AS text), {", ".join(TYPES)} FROM {{source}} WHERE true
ON CONFLICT (prefix, id, name) DO UPDATE SET state = excluded.state, attempt = excluded.attempt,
  published = excluded.published, started = excluded.started, ended = excluded.ended, progress = excluded.progress,
  note = excluded.note, error = excluded.error, expires = excluded.expires,
  result = CASE excluded.state WHEN 'queued' THEN NULL ELSE coalesce(excluded.result, job.result) END
WHERE CASE excluded.state
  WHEN 'queued' THEN job.state IN ('failed', 'cancelled') OR job.expires < :now
  WHEN 'cancelled' THEN true
  WHEN 'succeeded' THEN job.state <> 'cancelled'
  WHEN 'failed' THEN job.state <> 'cancelled'
  ELSE job.state NOT IN ('cancelled', 'cancelling')
END
RETURNING name, id
"""
READ = f"""
SELECT {COLUMNS} FROM {{table}} WHERE prefix = :prefix AND id = :id AND expires >= :now
ORDER BY published DESC LIMIT 1
"""
# The index has the latest jobs of each state, however many there are.
_LATEST = f"""
SELECT * FROM (
  SELECT {COLUMNS.replace("result", "NULL AS result")} FROM {{table}}
  WHERE prefix = :prefix AND state = '{{state}}' AND expires >= :now ORDER BY published DESC LIMIT :limit
) AS {{state}}
"""
READ_RECENT = " UNION ALL ".join(_LATEST.replace("{state}", state) for state in JobState)
CANCEL = """
UPDATE {table} SET state = CASE WHEN state IN ('running', 'cancelling') THEN 'cancelling' ELSE 'cancelled' END,
  ended = CASE WHEN state IN ('running', 'cancelling') THEN ended ELSE CAST(:now AS double precision) END
WHERE prefix = :prefix AND id = :id AND expires >= :now
  AND state IN ('queued', 'retrying', 'running', 'cancelling') RETURNING state
"""
WRITE_RESULT = "UPDATE {table} SET result = :result WHERE prefix = :prefix AND id = :id AND name = :name RETURNING 1"
READ_CANCELLING = "SELECT name, id FROM {table} WHERE prefix = :prefix AND state = 'cancelling'"
WITHDRAW = "DELETE FROM {table} WHERE prefix = :prefix AND id = :id AND name = :name AND state = 'queued' RETURNING id"
DELETE_BATCH = 1000
"""Expired jobs that one statement deletes."""
DELETE_EXPIRED = f"""
DELETE FROM {{table}} WHERE (prefix, id, name) IN (
  SELECT prefix, id, name FROM {{table}} WHERE expires < :now LIMIT {DELETE_BATCH}
) RETURNING 1
"""
# Without the first condition each transaction that finds a claim would lock it against its release.
CLAIM_KEY = """
INSERT INTO {table}_unique_keys AS claim (prefix, name, digest, token, id, expires)
SELECT CAST(:prefix AS text), CAST(:name AS text), CAST(:digest AS text), CAST(:token AS text), CAST(:id AS text),
  CAST(:expires AS double precision)
WHERE NOT EXISTS (
  SELECT 1 FROM {table}_unique_keys WHERE prefix = :prefix AND name = :name AND digest = :digest AND expires >= :now
)
ON CONFLICT (prefix, name, digest) DO UPDATE SET token = excluded.token, id = excluded.id, expires = excluded.expires
WHERE claim.expires < :now RETURNING 1
"""
READ_CLAIM = """
SELECT id FROM {table}_unique_keys WHERE prefix = :prefix AND name = :name AND digest = :digest AND expires >= :now
"""
RELEASE_KEY = """
DELETE FROM {table}_unique_keys WHERE prefix = :prefix AND name = :name AND digest = :digest AND token = :token
RETURNING 1
"""
RELEASE_CANCELLED = "DELETE FROM {table}_unique_keys WHERE prefix = :prefix AND id = :id RETURNING 1"
DELETE_EXPIRED_KEYS = """
DELETE FROM {table}_unique_keys WHERE (prefix, name, digest) IN (
  SELECT prefix, name, digest FROM {table}_unique_keys WHERE expires < :now LIMIT 1000
) RETURNING 1
"""
ADD_GROUP = """
INSERT INTO {table}_groups (prefix, id, size, headers, expires) VALUES (:prefix, :id, :size, :headers, :expires)
RETURNING 1
"""
DELETE_GROUP = "DELETE FROM {table}_groups WHERE prefix = :prefix AND id = :id RETURNING 1"
END_MEMBER = """
INSERT INTO {table}_group_ends (prefix, id, member, state, expires)
SELECT prefix, id, CAST(:member AS text), CAST(:state AS text), expires FROM {table}_groups
WHERE prefix = :prefix AND id = :id ON CONFLICT (prefix, id, member) DO NOTHING RETURNING 1
"""
COUNT_ENDS = """
SELECT job_group.headers, job_group.size, count(*) FILTER (WHERE state = 'succeeded'),
  count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'cancelled')
FROM {table}_groups AS job_group
JOIN {table}_group_ends AS ended ON ended.prefix = job_group.prefix AND ended.id = job_group.id
WHERE job_group.prefix = :prefix AND job_group.id = :id GROUP BY job_group.headers, job_group.size
"""
DELETE_ENDS = "DELETE FROM {table}_group_ends WHERE prefix = :prefix AND id = :id RETURNING 1"
DELETE_EXPIRED_GROUPS = "DELETE FROM {table}_groups WHERE expires < :now RETURNING 1"
DELETE_EXPIRED_ENDS = """
DELETE FROM {table}_group_ends WHERE (prefix, id, member) IN (
  SELECT prefix, id, member FROM {table}_group_ends WHERE expires < :now LIMIT 10000
) RETURNING 1
"""
