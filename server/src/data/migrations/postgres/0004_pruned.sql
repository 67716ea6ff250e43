-- The last transaction whose rows were deleted from the change log: who has not read up to it has missed something.
CREATE TABLE coati_pruned (id bigint PRIMARY KEY CHECK (id = 1), position bigint NOT NULL);
INSERT INTO coati_pruned (id, position) VALUES (1, 0);
