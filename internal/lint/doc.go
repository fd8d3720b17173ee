// Package lint holds the rules of this repository as code, so that
// `go test ./internal/lint` says what a reviewer would say: layers, forbidden
// imports and clocks in the pure core, sizes, names, comments, fuzz targets,
// the conformance table, leftover marks, go vet and staticcheck.
//
// A rule is a function from a [Tree] to findings. The package's tests run each
// rule twice: on this repository, where it must find nothing, and on a small
// broken tree in testdata, where it must find exactly what is listed there.
// Nobody else imports it; it has no goroutines.
//
// The tables that people edit are in tables.go.
package lint
