//go:build !linux

package main

import "errors"

func mountSmall(string, int64) error { return errors.ErrUnsupported }

func unmountSmall(string) error { return errors.ErrUnsupported }
