-- Nobody ever wrote it: where the server's next edit goes is the end of what the library holds of its server client.
ALTER TABLE libraries DROP COLUMN server_clock;
