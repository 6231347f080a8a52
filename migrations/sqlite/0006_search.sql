-- What is searched: the words of messages and of files, made by the host (the crate patchbay-words) and separated by spaces.
-- `title` is the name of a file, `parts` what a word has in it, `marks` what is asked for beside words (where, from whom).
-- The text itself is not kept here. A row has the id of its message or file. Being made from other tables it is in no
-- backup.
CREATE VIRTUAL TABLE message_index USING fts5(
    title, words, parts, marks,
    content = '', contentless_delete = 1, tokenize = "ascii tokenchars '#@+:'"
);
CREATE TRIGGER messages_unindexed AFTER DELETE ON messages BEGIN
    DELETE FROM message_index WHERE rowid = OLD.id;
END;
CREATE VIRTUAL TABLE file_index USING fts5(
    title, words, parts, marks,
    content = '', contentless_delete = 1, tokenize = "ascii tokenchars '#@+:'"
);
CREATE TRIGGER files_unindexed AFTER DELETE ON files BEGIN
    DELETE FROM file_index WHERE rowid = OLD.id;
END;

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
    file_id  INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    state    TEXT    NOT NULL, -- `waiting`, `read`, `failed`
    attempts BIGINT  NOT NULL DEFAULT 0,
    due_at   BIGINT  NOT NULL,
    text     TEXT,
    error    TEXT
);
CREATE INDEX file_texts_waiting ON file_texts (due_at) WHERE state = 'waiting';
