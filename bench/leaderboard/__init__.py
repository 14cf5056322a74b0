"""From records to leaderboard rows and overall scores."""
