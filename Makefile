# What is not one go command. CONTRIBUTING.md describes the rest.
.PHONY: snapshot reproducible notices

snapshot: ## the files of a release, in dist/, and the checks of them
	packaging/release

reproducible: ## build this machine's files twice, and compare
	packaging/reproducible

notices: ## third_party/NOTICES.txt, after a dependency changed
	go run ./tools/notices -o third_party/NOTICES.txt
