module github.com/tokenpatch/tokenpatch/benchmarks

go 1.25.0

require (
	github.com/google/uuid v1.6.0
	github.com/hashicorp/go-retryablehttp v0.7.8
	github.com/tokenpatch/tokenpatch v0.0.0
)

require (
	github.com/evanphx/json-patch/v5 v5.9.11 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
)

replace github.com/tokenpatch/tokenpatch => ../
