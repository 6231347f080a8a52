-- What is known of a file that is an image: its size the right way up, and the type of its thumbnail, none if it has none.
ALTER TABLE files ADD COLUMN width BIGINT;
ALTER TABLE files ADD COLUMN height BIGINT;
ALTER TABLE files ADD COLUMN thumbnail_type TEXT;
-- While an upload is under way: the object store's own id of it, by which it can be called off.
ALTER TABLE files ADD COLUMN upload_id TEXT;
CREATE INDEX files_by_owner ON files (uploaded_by_id, file_size);
CREATE INDEX files_unfinished ON files (id) WHERE sha256 IS NULL;

-- Bytes that are nobody's, or that will be nobody's unless somebody takes them before they are due. They are
-- removed from the object store when it can be reached, and only then forgotten here.
CREATE TABLE file_removals (
    path      TEXT   PRIMARY KEY,
    upload_id TEXT,
    due_at    BIGINT NOT NULL
);
CREATE INDEX file_removals_by_due ON file_removals (due_at);

-- No row goes without leaving word of its bytes, cascades included.
CREATE FUNCTION files_leave_word() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO file_removals (path, upload_id, due_at) VALUES (OLD.file_path, OLD.upload_id, 0)
    ON CONFLICT (path) DO UPDATE SET due_at = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER files_deleted AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION files_leave_word();

CREATE FUNCTION users_leave_word() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO file_removals (path, due_at) VALUES (OLD.profile_picture, 0)
    ON CONFLICT (path) DO UPDATE SET due_at = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER users_picture_replaced AFTER UPDATE OF profile_picture ON users FOR EACH ROW
    WHEN (OLD.profile_picture IS NOT NULL AND OLD.profile_picture IS DISTINCT FROM NEW.profile_picture)
    EXECUTE FUNCTION users_leave_word();
CREATE TRIGGER users_picture_deleted AFTER DELETE ON users FOR EACH ROW
    WHEN (OLD.profile_picture IS NOT NULL) EXECUTE FUNCTION users_leave_word();

-- A message takes its files with it.
CREATE FUNCTION messages_take_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM files WHERE message_id = OLD.id;
    RETURN OLD;
END $$;
CREATE TRIGGER messages_deleted BEFORE DELETE ON messages FOR EACH ROW EXECUTE FUNCTION messages_take_files();
