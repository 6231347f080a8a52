-- Through which plugin something was done, and how many plugins stand between a person and it.
ALTER TABLE events ADD COLUMN origin TEXT;
ALTER TABLE events ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;

-- The plugin's bot user, none until it needs one; what the operator set, as JSON objects; the place of its hooks among
-- those of others, and whether a failure of theirs keeps messages out; the version to go back to; why it is kept from
-- serving although it is enabled.
ALTER TABLE plugins ADD COLUMN bot_id BIGINT REFERENCES users (id) ON DELETE SET NULL;
ALTER TABLE plugins ADD COLUMN config TEXT NOT NULL DEFAULT '{}';
ALTER TABLE plugins ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE plugins ADD COLUMN hook_order BIGINT NOT NULL DEFAULT 0;
ALTER TABLE plugins ADD COLUMN hooks_fail_closed BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE plugins ADD COLUMN previous_digest TEXT;
ALTER TABLE plugins ADD COLUMN quarantine TEXT;
-- What the version's signature says of who made it; none without a signature that was checked.
ALTER TABLE plugin_versions ADD COLUMN signed_by TEXT;
-- When its `activate` has run; none if it has not.
ALTER TABLE plugin_versions ADD COLUMN activated_at BIGINT;

-- Secrets of plugins, sealed with the master key.
CREATE TABLE plugin_secrets (
    plugin TEXT NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (plugin, key)
);

-- How far each plugin has followed the journal, and how far history has been told to it: messages with ids above
-- `history_at` up to `history_until` are still to be told.
CREATE TABLE plugin_cursors (
    plugin        TEXT   PRIMARY KEY REFERENCES plugins (name) ON DELETE CASCADE,
    seq           BIGINT NOT NULL,
    attempts      BIGINT NOT NULL DEFAULT 0, -- failures of what comes next
    retry_at      BIGINT,                    -- not before then
    last_error    TEXT,
    history_at    BIGINT,
    history_until BIGINT,
    history_total BIGINT NOT NULL DEFAULT 0,
    history_done  BIGINT NOT NULL DEFAULT 0,
    history_attempts BIGINT NOT NULL DEFAULT 0, -- failures of what comes next of it
    history_retry_at BIGINT,
    updated_at    BIGINT NOT NULL
);

-- What a plugin could not handle.
CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin     TEXT    NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    kind       TEXT    NOT NULL, -- that of the event, or `job`
    seq        BIGINT,           -- none for a job
    channel_id BIGINT,
    message_id BIGINT,           -- as in `events`: whose deletion scrubs the payload
    actor_id   BIGINT,
    origin     TEXT,
    depth      BIGINT  NOT NULL DEFAULT 0,
    payload    TEXT    NOT NULL,
    at         BIGINT  NOT NULL, -- when it happened
    error      TEXT    NOT NULL,
    attempts   BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL
);
CREATE INDEX dead_letters_by_plugin ON dead_letters (plugin, id);
CREATE INDEX dead_letters_by_message ON dead_letters (message_id) WHERE message_id IS NOT NULL;

-- Jobs that wait. Those of the manifest are repeated (`every_ms`), those that plugins schedule come due once.
CREATE TABLE plugin_jobs (
    plugin     TEXT   NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    id         TEXT   NOT NULL,
    payload    TEXT   NOT NULL,
    due_at     BIGINT NOT NULL,
    every_ms   BIGINT,
    run_at     BIGINT NOT NULL, -- when it is to be tried next: `due_at`, or later after a failure
    attempts   BIGINT NOT NULL DEFAULT 0,
    depth      BIGINT NOT NULL DEFAULT 1, -- how many plugins stand between a person and what it does
    generation BIGINT NOT NULL DEFAULT 0, -- rises when it is scheduled anew
    PRIMARY KEY (plugin, id)
);
CREATE INDEX plugin_jobs_by_time ON plugin_jobs (run_at);
