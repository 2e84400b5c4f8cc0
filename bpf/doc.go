// Package bpf stamps and takes heartbeats below the sockets.
package bpf
