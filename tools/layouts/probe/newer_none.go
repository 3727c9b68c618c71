//go:build !go1.21

package main

func newer(n *node) {}
