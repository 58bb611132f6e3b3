"""Pure things everything else may use: errors, ids, time, backoff, batching."""
