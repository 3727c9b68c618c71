package main

/*
int keptby_c_table[100];
static int keptby_c_static[7] = {1};
int keptby_c_touch(void);
int keptby_c_touch(void) { return keptby_c_table[3] + keptby_c_static[1]++; }
*/
import "C"

import "bufio"

func printC(w *bufio.Writer) {
	if C.keptby_c_touch() > 1000 {
		panic("never")
	}
	printVar(w, "keptby_c_table", &C.keptby_c_table)
}
