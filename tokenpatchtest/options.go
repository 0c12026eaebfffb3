package tokenpatchtest

// Options are what a service does where the documents of V2 leave it open. The
// zero value is what a new service does.
type Options struct {
	// Members are further members of a token that a patch may write, such as
	// "expiry". Without them it may write those settings that the schema names.
	// [Service.AddV2] takes tokens with any members.
	Members []string
	// Roles are further base roles that a patch may set, besides reader, writer,
	// admin and owner.
	Roles []string
}

// SetOptions replaces the options, from the next request on.
func (s *Service) SetOptions(options Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options = options
}

// baseRoles are the base roles of V2.
var baseRoles = []string{"reader", "writer", "admin", "owner"}
