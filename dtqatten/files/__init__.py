"""What the rest stands on: files, folders, notices, and the base of errors that users can mend."""
