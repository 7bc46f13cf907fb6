"""What can go wrong, in words for the person at the keyboard. The command line turns these into exit codes."""


class LocalClusterError(Exception):
    """Something failed; the message says what, where, and what to do about it."""

    exit_code = 1


class MissingPrerequisite(LocalClusterError):  # noqa: N818 - reads as what it is: a thing that is missing
    """This machine lacks something that cannot be put in place from here."""

    exit_code = 3
