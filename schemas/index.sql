-- The index: what the log says, in the orders that pages, the outbox and retention ask for. It holds
-- nothing that the log does not; delete it and it is made again. PRAGMA user_version (set by the store) is
-- its version: another one is set aside and rebuilt, so there are no migrations.

CREATE TABLE info (             -- one row
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    store    BLOB NOT NULL,     -- uuid of the store
    applied  INTEGER NOT NULL,  -- lsn of the last record in here
    next_seq INTEGER NOT NULL
);

CREATE TABLE position (         -- where reading each stream goes on
    stream  INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL,
    at      INTEGER NOT NULL
);

CREATE TABLE tier (             -- counters, so that nothing is scanned
    tier       INTEGER PRIMARY KEY,
    frames     INTEGER NOT NULL DEFAULT 0,
    blob_bytes INTEGER NOT NULL DEFAULT 0,
    replicated INTEGER NOT NULL DEFAULT 0,
    evicted    INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE name (             -- kind: 1 camera, 2 label, 3 rule
    id   INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (kind, text)
);

CREATE TABLE model (
    id      INTEGER PRIMARY KEY,
    hash    BLOB NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    UNIQUE (hash, name, version)
);

CREATE TABLE blob (
    id           INTEGER PRIMARY KEY,
    tier         INTEGER NOT NULL,
    sha          BLOB NOT NULL,
    bytes        INTEGER NOT NULL,
    media        INTEGER NOT NULL DEFAULT 0,
    width        INTEGER NOT NULL DEFAULT 0,
    height       INTEGER NOT NULL DEFAULT 0,
    local        INTEGER NOT NULL DEFAULT 0,
    segment      INTEGER NOT NULL DEFAULT 0, -- with local: the file, and the record's place in it
    at           INTEGER NOT NULL DEFAULT 0,
    kept_utc     INTEGER NOT NULL DEFAULT 0,
    kept_boot    INTEGER NOT NULL DEFAULT 0,
    boot_id      BLOB,
    kept_clock   INTEGER NOT NULL DEFAULT 1, -- 0: kept_utc waits for its repair
    value        REAL NOT NULL DEFAULT 0,    -- the greatest of its frames
    refs         INTEGER NOT NULL DEFAULT 0, -- frames
    pinned       INTEGER NOT NULL DEFAULT 0, -- pinned frames
    owed         INTEGER NOT NULL DEFAULT 0, -- outbox rows of required remotes
    receipts     INTEGER NOT NULL DEFAULT 0,
    replicated   INTEGER NOT NULL DEFAULT 0, -- all required remotes have it, proven; none required: any has
    uploaded_utc INTEGER NOT NULL DEFAULT 0, -- since when it is replicated
    gone_reason  INTEGER NOT NULL DEFAULT 0, -- of the tombstone that took it; 0: none did
    gone_utc     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tier, sha)
);
CREATE INDEX blob_age ON blob (tier, kept_utc) WHERE local = 1 AND owed = 0 AND pinned = 0;
CREATE INDEX blob_uploaded ON blob (tier, uploaded_utc)
    WHERE local = 1 AND owed = 0 AND pinned = 0 AND replicated = 1;
CREATE INDEX blob_value ON blob (replicated DESC, value, kept_utc) WHERE local = 1 AND pinned = 0;
CREATE INDEX blob_clock ON blob (boot_id) WHERE kept_clock = 0;
CREATE INDEX blob_pinned ON blob (bytes) WHERE local = 1 AND pinned > 0;

CREATE TABLE frame (
    seq         INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    utc         INTEGER NOT NULL,
    boot        INTEGER NOT NULL,
    boot_id     BLOB NOT NULL,
    clock       INTEGER NOT NULL,
    tier        INTEGER NOT NULL,
    blob        INTEGER NOT NULL,
    camera      INTEGER NOT NULL,
    rule        INTEGER NOT NULL,
    model       INTEGER NOT NULL,
    orientation INTEGER NOT NULL,            -- plus 128: masked
    value       REAL NOT NULL,
    phash       INTEGER NOT NULL,
    luma_mean   REAL NOT NULL,
    luma_stddev REAL NOT NULL,
    sharpness   REAL NOT NULL,
    best        REAL NOT NULL,               -- greatest confidence, 0 without detections
    detections  BLOB NOT NULL,               -- at or above the index floor, as in the frame record
    segment     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    pinned      INTEGER NOT NULL DEFAULT 0,
    pinned_utc  INTEGER NOT NULL DEFAULT 0,  -- of the last PIN record, on or off
    label_state INTEGER NOT NULL DEFAULT 0   -- of its row in table label; 0: none
);
CREATE INDEX frame_utc ON frame (utc, seq);
CREATE INDEX frame_tier ON frame (tier, utc, seq);
CREATE INDEX frame_camera ON frame (camera, utc, seq);
CREATE INDEX frame_blob ON frame (blob);
CREATE INDEX frame_segment ON frame (segment);
CREATE INDEX frame_pinned ON frame (utc, seq) WHERE pinned = 1;
CREATE INDEX frame_judged ON frame (label_state, utc, seq) WHERE label_state > 0;
CREATE INDEX frame_clock ON frame (boot_id) WHERE clock = 0;

CREATE TABLE frame_label (                   -- the best detection of each label
    label      INTEGER NOT NULL,
    utc        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    confidence REAL NOT NULL,
    PRIMARY KEY (label, utc, seq)
) WITHOUT ROWID;

CREATE TABLE label (                         -- what a person said of a frame, the last word
    seq   INTEGER PRIMARY KEY,               -- the frame's
    state INTEGER NOT NULL,
    utc   INTEGER NOT NULL,
    class TEXT NOT NULL,
    note  TEXT NOT NULL,
    who   TEXT NOT NULL
);

CREATE TABLE remote (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    identity      BLOB NOT NULL,
    required      INTEGER NOT NULL,
    trusted       INTEGER NOT NULL, -- a receipt of kind 3 counts
    active        INTEGER NOT NULL,
    pending       INTEGER NOT NULL DEFAULT 0,
    pending_bytes INTEGER NOT NULL DEFAULT 0,
    quarantined   INTEGER NOT NULL DEFAULT 0,
    done          INTEGER NOT NULL DEFAULT 0,
    done_0        INTEGER NOT NULL DEFAULT 0, -- frames of tier 0 whose blob it has
    done_1        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, identity)
);

CREATE TABLE receipt (
    blob   INTEGER NOT NULL,
    remote INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    key    TEXT NOT NULL,
    etag   TEXT NOT NULL,
    utc    INTEGER NOT NULL,
    PRIMARY KEY (blob, remote)
) WITHOUT ROWID;

CREATE TABLE withdrawn (       -- receipts that were taken back, the last word about each
    blob   INTEGER NOT NULL,
    remote INTEGER NOT NULL,
    action INTEGER NOT NULL,   -- of the OUTBOX record: 4 lost, 5 expired, 6 removed
    utc    INTEGER NOT NULL,
    PRIMARY KEY (blob, remote)
) WITHOUT ROWID;

CREATE TABLE outbox (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    remote   INTEGER NOT NULL,
    blob     INTEGER NOT NULL,
    state    INTEGER NOT NULL,           -- 0 due, 1 quarantined, 2 held until the clock is repaired
    value    REAL NOT NULL,
    due      INTEGER NOT NULL DEFAULT 0, -- boot time before which it waits
    attempts INTEGER NOT NULL DEFAULT 0,
    reason   TEXT NOT NULL DEFAULT '',
    UNIQUE (blob, remote)
);
CREATE INDEX outbox_order ON outbox (remote, state, row);
CREATE INDEX outbox_value ON outbox (remote, state, value, row);
CREATE INDEX outbox_due ON outbox (remote, due) WHERE due > 0;

CREATE TABLE segment (                      -- of the tiers: what a file is still needed for
    number       INTEGER PRIMARY KEY,
    stream       INTEGER NOT NULL,
    live         INTEGER NOT NULL DEFAULT 0, -- local blobs that lie in it
    live_bytes   INTEGER NOT NULL DEFAULT 0, -- of their records
    frames       INTEGER NOT NULL DEFAULT 0, -- whose record lies in it
    record_bytes INTEGER NOT NULL DEFAULT 0, -- of those
    newest       INTEGER NOT NULL DEFAULT 0  -- when the last of them was kept
);
CREATE INDEX segment_dead ON segment (newest) WHERE live = 0;

CREATE TABLE reclaim (                   -- space that a tombstone freed, still to be given back
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    stream  INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    bytes   INTEGER NOT NULL             -- 0: unlink the whole file
);

CREATE TABLE thumb (
    sha     BLOB PRIMARY KEY,
    segment INTEGER NOT NULL,
    at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX thumb_segment ON thumb (segment);
