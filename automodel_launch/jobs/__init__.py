"""What jobs and runs have written: the launcher's records, the directories of jobs and runs, histories."""
