//go:build go1.21 && !go1.23

package main

func newer123(n *node) {}
