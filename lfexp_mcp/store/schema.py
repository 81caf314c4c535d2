"""The tables of the store file, as numbered migrations.

`PRAGMA user_version` holds the number of the last migration applied. A released migration never changes; a
new one is added instead.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from lfexp_mcp.errors import StoreError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE datasets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        description TEXT,
        metadata TEXT,
        input_schema TEXT,
        expected_output_schema TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE TABLE dataset_item_versions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        dataset_id TEXT NOT NULL REFERENCES datasets (id),
        status TEXT NOT NULL,
        input TEXT,
        expected_output TEXT,
        metadata TEXT,
        source_trace_id TEXT,
        source_observation_id TEXT,
        valid_from INTEGER NOT NULL,
        valid_to INTEGER
    );
    CREATE UNIQUE INDEX dataset_items_now ON dataset_item_versions (id) WHERE valid_to IS NULL;
    CREATE INDEX dataset_items_listed ON dataset_item_versions (dataset_id, valid_to, valid_from, seq);
    CREATE TABLE prompts (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        type TEXT NOT NULL,
        prompt TEXT NOT NULL,
        config TEXT NOT NULL,
        tags TEXT NOT NULL,
        labels TEXT NOT NULL,
        commit_message TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        UNIQUE (name, version)
    );
    CREATE TABLE observations (
        trace_id TEXT NOT NULL,
        id TEXT NOT NULL,
        parent_id TEXT,
        is_root INTEGER NOT NULL,
        type TEXT NOT NULL,
        name TEXT NOT NULL,
        start_time INTEGER NOT NULL,
        end_time INTEGER,
        level TEXT NOT NULL,
        status_message TEXT NOT NULL,
        version TEXT NOT NULL,
        environment TEXT NOT NULL,
        user_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        trace_name TEXT,
        release TEXT NOT NULL,
        tags TEXT NOT NULL,
        public INTEGER NOT NULL,
        input TEXT,
        output TEXT,
        metadata TEXT NOT NULL,
        origin TEXT NOT NULL,
        generation TEXT,
        total_cost REAL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        UNIQUE (trace_id, id)
    );
    CREATE INDEX observations_newest ON observations (start_time DESC, trace_id DESC, id DESC);
    CREATE INDEX observations_newest_roots ON observations (start_time DESC, trace_id DESC, id DESC) WHERE is_root = 1;
    CREATE TABLE experiments (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        dataset_id TEXT,
        metadata TEXT,
        start_time INTEGER NOT NULL,
        end_time INTEGER NOT NULL,
        last_time INTEGER NOT NULL,
        last_trace_id TEXT NOT NULL,
        last_id TEXT NOT NULL
    );
    CREATE INDEX experiments_newest ON experiments (last_time DESC, last_trace_id DESC, last_id DESC);
    CREATE TABLE experiment_items (
        trace_id TEXT NOT NULL,
        id TEXT NOT NULL,
        start_time INTEGER NOT NULL,
        experiment_id TEXT NOT NULL,
        experiment_name TEXT NOT NULL,
        item_id TEXT NOT NULL,
        dataset_id TEXT,
        item_version TEXT,
        expected_output TEXT,
        item_metadata TEXT,
        experiment_metadata TEXT,
        description TEXT NOT NULL,
        UNIQUE (trace_id, id)
    );
    CREATE INDEX experiment_items_newest ON experiment_items (start_time DESC, trace_id DESC, id DESC);
    CREATE INDEX experiment_items_of ON experiment_items (experiment_id, start_time DESC, trace_id DESC, id DESC);
    CREATE TABLE scores (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        data_type TEXT NOT NULL,
        number REAL,
        string TEXT,
        source TEXT NOT NULL,
        comment TEXT,
        metadata TEXT,
        environment TEXT NOT NULL,
        trace_id TEXT,
        observation_id TEXT,
        session_id TEXT,
        experiment_id TEXT,
        config_id TEXT,
        queue_id TEXT,
        author_user_id TEXT,
        timestamp INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX scores_newest ON scores (timestamp DESC, id DESC);
    CREATE INDEX scores_of_trace ON scores (trace_id) WHERE trace_id IS NOT NULL;
    CREATE INDEX scores_of_experiment ON scores (experiment_id) WHERE experiment_id IS NOT NULL;
    CREATE TABLE score_configs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        data_type TEXT NOT NULL,
        is_archived INTEGER NOT NULL,
        min_value REAL,
        max_value REAL,
        categories TEXT,
        description TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE TABLE comments (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        object_type TEXT NOT NULL,
        object_id TEXT NOT NULL,
        content TEXT NOT NULL,
        author_user_id TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE INDEX comments_of ON comments (object_type, object_id);
    CREATE TABLE annotation_queues (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        description TEXT,
        score_config_ids TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE TABLE annotation_queue_items (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        queue_id TEXT NOT NULL REFERENCES annotation_queues (id),
        object_id TEXT NOT NULL,
        object_type TEXT NOT NULL,
        status TEXT NOT NULL,
        completed_at INTEGER,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE INDEX annotation_queue_items_of ON annotation_queue_items (queue_id, seq);
    CREATE TABLE models (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        match_pattern TEXT NOT NULL,
        start_date INTEGER,
        unit TEXT,
        tokenizer_id TEXT,
        tokenizer_config TEXT,
        pricing_tiers TEXT NOT NULL,
        created_at INTEGER NOT NULL
    );
    """,
)

_ACTIVE = "WHERE valid_to IS NULL AND status = 'ACTIVE'"
ADDITIONS: tuple[str, ...] = (
    f"CREATE INDEX IF NOT EXISTS active_items ON dataset_item_versions (valid_from, seq) {_ACTIVE}",
    "CREATE INDEX IF NOT EXISTS active_items_of_dataset ON dataset_item_versions (dataset_id, valid_from, seq) "
    + _ACTIVE,
    """
    CREATE TABLE IF NOT EXISTS media (
        id TEXT PRIMARY KEY,
        content_type TEXT NOT NULL,
        content_length INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        uploaded_at INTEGER,
        content BLOB
    )
    """,
)
"""Made when a store is opened. They are not migrations, so that earlier versions can still open the file."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Migrate a store file to the newest schema.

    Each migration is one transaction that also advances `user_version`: a process that starts at the same time finds it
    done, and one that dies leaves the file as it was.

    Args:
        connection: An open connection in autocommit mode.
        path: The file, for errors.
        migrations: All migrations, oldest first; each is SQL statements separated by semicolons.

    Raises:
        StoreError: A newer version of lfexp-mcp wrote the file.
    """
    while (version := _version(connection)) != len(migrations):
        if version > len(migrations):
            raise StoreError(
                f"The store {path} has schema {version}, written by a newer lfexp-mcp; this one knows "
                f"schemas up to {len(migrations)}. Upgrade lfexp-mcp, or choose another store folder."
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == version:
                for statement in migrations[version].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1:d}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
