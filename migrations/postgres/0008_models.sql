-- What plugins used of models on the day on which they last did: days since 1970, UTC.
CREATE TABLE plugin_llm_usage (
    plugin TEXT   PRIMARY KEY REFERENCES plugins (name) ON DELETE CASCADE,
    day    BIGINT NOT NULL,
    tokens BIGINT NOT NULL
);

-- Vectors of texts that were embedded before, by the SHA-256 of the text; 32-bit floats, the least significant byte first.
CREATE TABLE embedding_cache (
    embedder   TEXT   NOT NULL,
    hash       BYTEA  NOT NULL,
    vector     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (embedder, hash)
);
CREATE INDEX embedding_cache_by_time ON embedding_cache (created_at);

-- Vectors of plugins, where they are kept here (`vectors.url`): floats as above, of length 1; metadata as a JSON object.
CREATE TABLE plugin_vectors (
    plugin     TEXT  NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    collection TEXT  NOT NULL,
    id         TEXT  NOT NULL,
    vector     BYTEA NOT NULL,
    metadata   TEXT  NOT NULL,
    PRIMARY KEY (plugin, collection, id)
);
-- What each plugin keeps of them, so that its limit costs no scan. Kept by triggers, which cascades fire too.
CREATE TABLE plugin_vector_usage (
    plugin TEXT   PRIMARY KEY,
    bytes  BIGINT NOT NULL
);
CREATE FUNCTION plugin_vectors_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO plugin_vector_usage (plugin, bytes)
        VALUES (NEW.plugin, octet_length(NEW.id) + octet_length(NEW.vector) + octet_length(NEW.metadata))
        ON CONFLICT (plugin) DO UPDATE SET bytes = plugin_vector_usage.bytes + excluded.bytes;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE plugin_vector_usage
        SET bytes = bytes + octet_length(NEW.vector) + octet_length(NEW.metadata)
            - octet_length(OLD.vector) - octet_length(OLD.metadata)
        WHERE plugin = NEW.plugin;
    ELSE
        UPDATE plugin_vector_usage
        SET bytes = bytes - octet_length(OLD.id) - octet_length(OLD.vector) - octet_length(OLD.metadata)
        WHERE plugin = OLD.plugin;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER plugin_vectors_counted AFTER INSERT OR DELETE OR UPDATE ON plugin_vectors
    FOR EACH ROW EXECUTE FUNCTION plugin_vectors_count();
