-- What a token is for that was issued to a program or an operator; NULL for the login of a browser.
ALTER TABLE coati_login ADD COLUMN label text;
