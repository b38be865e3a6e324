"""What users would write themselves instead: FastAPI, SQLite, arq and httpx, as a good engineer would in a day."""
