"""Other people's figures as data: one JSON file for each table; every cell has its source and how sure it is."""
