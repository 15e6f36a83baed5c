"""What everything else speaks of: geometry, volumes, structures, protocols, reports, errors. numpy only."""
