"""The answers to questions about notifications, over gRPC."""
