package tokenpatch

// Version is sent in the User-Agent.
const Version = version

// NewTransport returns the default transport of a client.
var NewTransport = newTransport
