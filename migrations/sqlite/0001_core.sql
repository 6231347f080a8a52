-- Everything of the seed, and what the host needs beside it.
-- Times are milliseconds since the Unix epoch, UTC. AUTOINCREMENT: an id is never used twice.

CREATE TABLE users (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    username        TEXT    NOT NULL,
    username_key    TEXT    NOT NULL UNIQUE, -- lower case: names are unique without regard to case
    email           TEXT    NOT NULL,
    email_key       TEXT    NOT NULL UNIQUE,
    full_name       TEXT,
    hashed_password TEXT,                    -- none: nobody can log in with a password (bots)
    is_active       BOOLEAN NOT NULL DEFAULT TRUE,
    is_superuser    BOOLEAN NOT NULL DEFAULT FALSE,
    is_bot          BOOLEAN NOT NULL DEFAULT FALSE,
    profile_picture TEXT,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);

CREATE TABLE presence (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id   BIGINT  NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    status    TEXT    NOT NULL, -- what the user chose; what others see also depends on open sockets
    last_seen BIGINT
);

-- A deleted channel stays as a tombstone with its members for as long as the journal speaks of it: otherwise
-- nobody could be told of the deletion after a reconnect.
CREATE TABLE channels (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT    NOT NULL,
    description       TEXT,
    is_direct_message BOOLEAN NOT NULL,
    is_public         BOOLEAN NOT NULL,
    is_vc             BOOLEAN NOT NULL,
    dm_key            TEXT UNIQUE, -- the sorted member ids of a direct message: one per set of people
    created_by_id     BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at        BIGINT  NOT NULL,
    updated_at        BIGINT  NOT NULL,
    deleted_at        BIGINT
);

CREATE TABLE channel_members (
    channel_id           BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id              BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role                 TEXT   NOT NULL,
    joined_at            BIGINT NOT NULL,
    last_read_message_id BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (channel_id, user_id)
) WITHOUT ROWID;
CREATE INDEX channel_members_by_user ON channel_members (user_id, channel_id);

CREATE TABLE messages (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id      BIGINT  NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    sender_id       BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id       BIGINT  REFERENCES messages (id) ON DELETE CASCADE,
    content         TEXT    NOT NULL,
    mentions        TEXT    NOT NULL DEFAULT '', -- ids, comma separated, rising; message_mentions is its index
    has_attachments BOOLEAN NOT NULL DEFAULT FALSE,
    is_bot          BOOLEAN NOT NULL DEFAULT FALSE,
    reply_count     BIGINT  NOT NULL DEFAULT 0,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    edited_at       BIGINT,
    deleted_at      BIGINT -- set on the tombstone of a thread's root; anything else deleted has no row
);
CREATE INDEX messages_by_channel ON messages (channel_id, id);
CREATE INDEX messages_by_parent ON messages (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE TABLE message_mentions (
    user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    channel_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, channel_id, message_id)
) WITHOUT ROWID;
CREATE INDEX message_mentions_by_message ON message_mentions (message_id);

CREATE TABLE message_edits (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id   BIGINT  NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    content      TEXT    NOT NULL,
    edited_by_id BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at   BIGINT  NOT NULL,
    replaced_at  BIGINT  NOT NULL
);
CREATE INDEX message_edits_by_message ON message_edits (message_id, id);

CREATE TABLE files (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    filename       TEXT    NOT NULL,
    file_path      TEXT    NOT NULL,
    file_type      TEXT    NOT NULL,
    file_size      BIGINT  NOT NULL,
    uploaded_by_id BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    message_id     BIGINT REFERENCES messages (id) ON DELETE SET NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL
);
CREATE INDEX files_by_message ON files (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE reactions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    emoji      TEXT    NOT NULL,
    user_id    BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    message_id BIGINT  NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    created_at BIGINT  NOT NULL,
    UNIQUE (message_id, user_id, emoji)
);

-- A login. Good are its current refresh token, until a pair made from it is first used, and the tokens made
-- from the current one; the use of any other of its tokens is a reuse and ends the session.
CREATE TABLE sessions (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id              BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    current_token_id     BIGINT  NOT NULL,
    successor_used       BOOLEAN NOT NULL DEFAULT FALSE, -- an access token of a successor has been used
    user_agent           TEXT,
    ip                   TEXT,
    created_at           BIGINT  NOT NULL,
    last_used_at         BIGINT  NOT NULL,
    expires_at           BIGINT  NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id BIGINT  NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    parent_id  BIGINT,                -- the token it was made from; none for the login's own
    token_hash BLOB    NOT NULL UNIQUE, -- SHA-256; the token itself is nowhere
    created_at BIGINT  NOT NULL
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    kid        TEXT   PRIMARY KEY,
    secret     BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT -- no longer signs, still verifies
);

CREATE TABLE idempotency_keys (
    user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    key        TEXT   NOT NULL,
    message_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, channel_id, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The journal. The counter row is advanced as the last statement before a batch inserts its events: commits
-- are ordered by its lock, and a rollback leaves no hole.
CREATE TABLE journal_head (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    seq   BIGINT NOT NULL, -- of the newest event
    floor BIGINT NOT NULL  -- of the newest event that has been pruned
);
INSERT INTO journal_head (id, seq, floor) VALUES (1, 0, 0);

CREATE TABLE events (
    seq            INTEGER PRIMARY KEY,
    kind           TEXT   NOT NULL,
    audience       TEXT   NOT NULL,
    channel_id     BIGINT,
    message_id     BIGINT, -- set if the payload holds content of that message and must be scrubbed with it
    actor_id       BIGINT,
    target_user_id BIGINT,
    payload        TEXT   NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX events_by_message ON events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX events_by_age ON events (created_at);

-- Installed plugins, every version with its bytes.
CREATE TABLE plugins (
    name            TEXT    PRIMARY KEY,
    active_digest   TEXT,            -- none: waits for grants
    enabled         BOOLEAN NOT NULL,
    capabilities    TEXT    NOT NULL, -- granted, a JSON array
    routes          TEXT    NOT NULL, -- granted beyond /api/plugins/{name}/, a JSON array
    bundled_digest  TEXT,            -- the version that came with the host when it was last looked at
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);

CREATE TABLE plugin_versions (
    plugin       TEXT   NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    digest       TEXT   NOT NULL, -- SHA-256 of the component, hexadecimal
    version      TEXT   NOT NULL,
    manifest     TEXT   NOT NULL, -- as in the component, to be read without it
    component    BLOB   NOT NULL,
    installed_by BIGINT REFERENCES users (id) ON DELETE SET NULL,
    installed_at BIGINT NOT NULL,
    PRIMARY KEY (plugin, digest)
);

CREATE TABLE plugin_kv (
    plugin     TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    value      BLOB   NOT NULL,
    message_id BIGINT REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (plugin, key)
) WITHOUT ROWID;
CREATE INDEX plugin_kv_by_message ON plugin_kv (message_id) WHERE message_id IS NOT NULL;

-- What each plugin keeps, so that its limit costs no scan. Kept by triggers, which cascades fire too.
CREATE TABLE plugin_kv_usage (
    plugin TEXT   PRIMARY KEY,
    bytes  BIGINT NOT NULL
);
CREATE TRIGGER plugin_kv_inserted AFTER INSERT ON plugin_kv BEGIN
    INSERT INTO plugin_kv_usage (plugin, bytes)
    VALUES (NEW.plugin, length(CAST(NEW.key AS BLOB)) + length(NEW.value))
    ON CONFLICT (plugin) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER plugin_kv_updated AFTER UPDATE OF value ON plugin_kv BEGIN
    UPDATE plugin_kv_usage SET bytes = bytes + length(NEW.value) - length(OLD.value) WHERE plugin = NEW.plugin;
END;
CREATE TRIGGER plugin_kv_deleted AFTER DELETE ON plugin_kv BEGIN
    UPDATE plugin_kv_usage SET bytes = bytes - length(CAST(OLD.key AS BLOB)) - length(OLD.value)
    WHERE plugin = OLD.plugin;
END;
