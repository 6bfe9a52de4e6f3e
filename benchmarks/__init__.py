"""How much of a message's time is routesock's, as a ratio to the consumer that a team would write by hand."""
