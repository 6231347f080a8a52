-- Bot users that people have made through a plugin. The token belongs to a session that lives until it is replaced.
CREATE TABLE bots (
    user_id    BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    plugin     TEXT   NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    owner_id   BIGINT REFERENCES users (id) ON DELETE SET NULL,
    session_id BIGINT REFERENCES sessions (id) ON DELETE SET NULL,
    token_hash BYTEA, -- SHA-256
    scopes     TEXT   NOT NULL DEFAULT '', -- names with spaces between them
    created_at BIGINT NOT NULL
);
CREATE INDEX bots_by_owner ON bots (owner_id);
CREATE INDEX bots_by_plugin ON bots (plugin);
CREATE UNIQUE INDEX bots_by_session ON bots (session_id) WHERE session_id IS NOT NULL;
