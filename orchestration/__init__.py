"""When things run: definitions, profiles, jobs, schedules, sensors, automation."""
