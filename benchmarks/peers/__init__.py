"""What the platform is measured against: each module does the same work the way one would without it."""
