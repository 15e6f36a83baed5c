"""What goes wrong with others, who may do better later. Messages name them as the settings do, and no patient."""


class PeerTrouble(Exception):
    """Base of what a peer did not do."""

    code = "peer"


class NotReached(PeerTrouble):
    """It does not answer, or not as it should."""

    code = "not-reached"


class NotTaken(PeerTrouble):
    """It does not take what it was sent."""

    code = "not-taken"


class NotGiven(PeerTrouble):
    """It does not give what it was asked for."""

    code = "not-given"
