package tokenpatch

// Version is what the User-Agent says.
const Version = version

// NewTransport returns the transport of a client that is given none.
var NewTransport = newTransport
