"""What every long-running process of ours needs: its status, the monitoring port, an HTTP server, an orderly stop."""
