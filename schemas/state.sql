-- state.db: what no log can make again. Never touched by a rebuild of the index.

CREATE TABLE IF NOT EXISTS state (
    space TEXT NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;

-- What triage decided, by camera and rule. minute: since 1970 UTC, where the span begins; 0: the clock was not synchronised.
CREATE TABLE IF NOT EXISTS tally (
    span        INTEGER NOT NULL, -- minutes: 1 or 60
    minute      INTEGER NOT NULL,
    camera      TEXT NOT NULL,    -- both empty: too many different ones in too short a time
    rule        TEXT NOT NULL,    -- that won, or would have but for its budget; empty: none
    kept        INTEGER NOT NULL,
    over_budget INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    PRIMARY KEY (span, minute, camera, rule)
) WITHOUT ROWID;
