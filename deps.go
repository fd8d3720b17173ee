//go:build tools

package btt

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/anishathalye/porcupine"
	_ "github.com/cockroachdb/pebble/v2"
	_ "github.com/consensys/gnark-crypto/ecc/secp256k1"
	_ "github.com/decred/dcrd/dcrec/secp256k1/v4"
	_ "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	_ "github.com/mr-tron/base58"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/tyler-smith/go-bip39"
	_ "github.com/vbauerster/mpb/v8"
	_ "golang.org/x/crypto/sha3"
	_ "golang.org/x/mod/sumdb/tlog"
	_ "golang.org/x/net/ipv4"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/time/rate"
	_ "pgregory.net/rapid"
	_ "github.com/prometheus/client_golang/prometheus"
)
