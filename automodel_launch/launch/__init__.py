"""From parts to a running job: making a Plan, submitting it, following it to its end."""
