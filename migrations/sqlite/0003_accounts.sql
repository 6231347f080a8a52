-- An invitation to make an account. The token itself is nowhere: this is its SHA-256.
CREATE TABLE invites (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    token_hash    BLOB    NOT NULL UNIQUE,
    email         TEXT,                -- whom it is for; none: whoever has it
    max_uses      BIGINT  NOT NULL,
    uses          BIGINT  NOT NULL DEFAULT 0,
    created_by_id BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at    BIGINT  NOT NULL,
    expires_at    BIGINT  NOT NULL
);
CREATE INDEX invites_by_expiry ON invites (expires_at);

-- Administrative acts, each written in the transaction of the act. Names are those of the time.
CREATE TABLE audit_log (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    action         TEXT    NOT NULL,
    actor_id       BIGINT,             -- none: the operator at the machine
    actor_username TEXT,
    target         TEXT    NOT NULL,   -- KIND:ID
    detail         TEXT    NOT NULL,   -- a JSON object
    ip             TEXT,
    created_at     BIGINT  NOT NULL
);
CREATE INDEX audit_log_by_action ON audit_log (action, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, id);

-- The id of the master key that the secret is sealed with; none: it is as it was made, until the next start.
ALTER TABLE signing_keys ADD COLUMN sealed_by TEXT;

-- Few of many: passwords that were hashed by the system before, and superusers.
CREATE INDEX users_with_bcrypt ON users (id) WHERE substr(hashed_password, 1, 2) = '$2';
CREATE INDEX users_superusers ON users (id) WHERE is_superuser;
