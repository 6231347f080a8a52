-- SHA-256 of the content, hexadecimal; none while the upload is under way, and then nobody sees the file.
ALTER TABLE files ADD COLUMN sha256 TEXT;
CREATE INDEX files_unattached ON files (created_at) WHERE message_id IS NULL;

CREATE TABLE pins (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id   BIGINT  NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    message_id   BIGINT  NOT NULL UNIQUE REFERENCES messages (id) ON DELETE CASCADE,
    pinned_by_id BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at   BIGINT  NOT NULL
);
CREATE INDEX pins_by_channel ON pins (channel_id, id);

-- What the clean-up looks for.
CREATE INDEX channels_deleted ON channels (deleted_at) WHERE deleted_at IS NOT NULL;

-- Lower case by the rules of Unicode, which the database's own lower() doesn't know everywhere.
ALTER TABLE users ADD COLUMN full_name_key TEXT NOT NULL DEFAULT '';
UPDATE users SET full_name_key = lower(coalesce(full_name, ''));
ALTER TABLE channels ADD COLUMN search_key TEXT NOT NULL DEFAULT '';
UPDATE channels SET search_key = lower(name || ' ' || coalesce(description, ''));
