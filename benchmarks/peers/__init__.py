"""What the platform is compared with: each module does the same work the way one would without it."""
