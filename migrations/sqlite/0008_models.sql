-- What plugins used of models on the day on which they last did: days since 1970, UTC.
CREATE TABLE plugin_llm_usage (
    plugin TEXT   PRIMARY KEY REFERENCES plugins (name) ON DELETE CASCADE,
    day    BIGINT NOT NULL,
    tokens BIGINT NOT NULL
);

-- Vectors of texts that were embedded before, by the SHA-256 of the text; 32-bit floats, the least significant byte first.
CREATE TABLE embedding_cache (
    embedder   TEXT   NOT NULL,
    hash       BLOB   NOT NULL,
    vector     BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (embedder, hash)
);
CREATE INDEX embedding_cache_by_time ON embedding_cache (created_at);

-- Vectors of plugins, where they are kept here (`vectors.url`): floats as above, of length 1; metadata as a JSON object.
CREATE TABLE plugin_vectors (
    plugin     TEXT  NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    collection TEXT  NOT NULL,
    id         TEXT  NOT NULL,
    vector     BLOB  NOT NULL,
    metadata   TEXT  NOT NULL,
    PRIMARY KEY (plugin, collection, id)
);
-- What each plugin keeps of them, so that its limit costs no scan. Kept by triggers, which cascades fire too.
CREATE TABLE plugin_vector_usage (
    plugin TEXT   PRIMARY KEY,
    bytes  BIGINT NOT NULL
);
CREATE TRIGGER plugin_vectors_inserted AFTER INSERT ON plugin_vectors BEGIN
    INSERT INTO plugin_vector_usage (plugin, bytes)
    VALUES (NEW.plugin, octet_length(NEW.id) + octet_length(NEW.vector) + octet_length(NEW.metadata))
    ON CONFLICT (plugin) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER plugin_vectors_updated AFTER UPDATE ON plugin_vectors BEGIN
    UPDATE plugin_vector_usage
    SET bytes = bytes + octet_length(NEW.vector) + octet_length(NEW.metadata)
        - octet_length(OLD.vector) - octet_length(OLD.metadata)
    WHERE plugin = NEW.plugin;
END;
CREATE TRIGGER plugin_vectors_deleted AFTER DELETE ON plugin_vectors BEGIN
    UPDATE plugin_vector_usage
    SET bytes = bytes - octet_length(OLD.id) - octet_length(OLD.vector) - octet_length(OLD.metadata)
    WHERE plugin = OLD.plugin;
END;
