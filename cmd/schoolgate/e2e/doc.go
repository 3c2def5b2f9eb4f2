// Package e2e tests the real program between a real client (dig, and dnsperf for load), a real upstream
// (Unbound), web servers that publish lists and receivers of webhooks, on loopback, with the build tag e2e.
// Clients of different groups are different addresses of 127.0.0.0/8; rows_test.go and identity_test.go have devices with
// addresses of their own, in network namespaces.
package e2e
