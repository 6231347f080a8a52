-- What is searched: the words of messages and of files, made by the host (the crate patchbay-words). Weight A is the name
-- of a file, B the words, C what a word has in it, and D what is asked for beside words (where, from whom). A row has the
-- id of its message or file. A table with a TSVECTOR is made from others and is in no backup.
CREATE TABLE message_index (
    rowid  BIGINT   PRIMARY KEY,
    tokens TSVECTOR NOT NULL
);
CREATE INDEX message_index_by_tokens ON message_index USING GIN (tokens) WITH (gin_pending_list_limit = 512);
CREATE FUNCTION messages_unindex() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM message_index WHERE rowid = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_unindexed AFTER DELETE ON messages FOR EACH ROW EXECUTE FUNCTION messages_unindex();
CREATE TABLE file_index (
    rowid  BIGINT   PRIMARY KEY,
    tokens TSVECTOR NOT NULL
);
CREATE INDEX file_index_by_tokens ON file_index USING GIN (tokens) WITH (gin_pending_list_limit = 512);
CREATE FUNCTION files_unindex() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM file_index WHERE rowid = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER files_unindexed AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION files_unindex();

-- How far each index has been made, and by which version of the rules for words: rows with ids above `at` up to `until`
-- are still to be indexed; those above `until` were when they were written.
CREATE TABLE search_progress (
    name       TEXT   PRIMARY KEY, -- `messages` or `files`
    version    BIGINT NOT NULL,    -- 0: to be made anew at the next start
    at         BIGINT NOT NULL,
    until      BIGINT NOT NULL
);
INSERT INTO search_progress (name, version, at, until) VALUES ('messages', 0, 0, 0), ('files', 0, 0, 0);

-- The text in a file, and those of which it is still to be read.
CREATE TABLE file_texts (
    file_id  BIGINT PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    state    TEXT   NOT NULL, -- `waiting`, `read`, `failed`
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at   BIGINT NOT NULL,
    text     TEXT,
    error    TEXT
);
CREATE INDEX file_texts_waiting ON file_texts (due_at) WHERE state = 'waiting';
