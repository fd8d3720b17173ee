// Package bench holds the benchmarks that span packages: a transfer between two
// nodes, paid and unpaid. The benchmarks of one package lie beside it.
package bench
