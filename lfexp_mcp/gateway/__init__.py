"""The one way to Langfuse: typed reads and acknowledged writes. Nothing else imports the SDK to read or write results."""
