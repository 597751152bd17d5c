"""Where events come from: one file a provider, and the expansion of iCalendar text they share."""
