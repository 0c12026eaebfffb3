package tokenpatch

// Version is what the User-Agent says.
const Version = version
