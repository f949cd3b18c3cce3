-- state.db: what no log can make again. Never touched by a rebuild of the index.

CREATE TABLE IF NOT EXISTS state (
    space TEXT NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
