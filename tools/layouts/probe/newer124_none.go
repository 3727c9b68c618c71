//go:build go1.23 && !go1.24

package main

func newer124(n *node) {}
