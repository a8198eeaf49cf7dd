// SPDX-License-Identifier: GPL-2.0

// Tells each client who it is. Nothing here is about load balancers.
//
// usage: server PORT
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr)
	})
	log.Fatal(http.ListenAndServe(":"+os.Args[1], nil))
}
