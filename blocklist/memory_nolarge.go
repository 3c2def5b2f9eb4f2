//go:build !linux

package blocklist

func adviseLarge([]byte) {}
