"""What every device with a POSIX shell shares: files, jobs and the lease, by small scripts that run there."""
