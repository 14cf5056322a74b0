"""What records say beyond the leaderboard."""
