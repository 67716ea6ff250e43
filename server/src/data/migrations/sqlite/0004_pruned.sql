-- Nothing: what was deleted from the change log shows by the numbers that are missing. PostgreSQL needs a note of it.
SELECT 1;
