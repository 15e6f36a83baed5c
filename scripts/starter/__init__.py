"""The one way in which a shipped package is rebuilt: prepare, train, export, measure, card."""
