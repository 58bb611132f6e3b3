"""The public REST edge: validates, assigns the id, emits NotificationRequested."""
